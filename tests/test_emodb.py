"""EMO-DB itself; skipped where it is not."""

import pathlib
import shutil

import pytest

from jser import pipeline, recipes
from jser.config import Ensemble
from jser.corpora import prepare
from jser.ensemble.logits import Logits
from jser.features.extract import extract
from jser.roots import Roots
from jser.statistics import metrics
from tests.helpers.paths import CONFIGS, SHARED

SOURCE = SHARED / "data" / "emodb"
pytestmark = pytest.mark.skipif(
    not SOURCE.exists(), reason="EMO-DB is not in ../shared/data/emodb"
)


def roots_in(folder: pathlib.Path) -> Roots:
    return Roots(
        data=folder / "data", features=folder / "features", runs=folder / "runs"
    )


def scores_of(roots: Roots, name: str) -> dict[str, float]:
    said = Logits.load(roots.runs / name / "logits" / "average" / "cv.npz")
    return metrics.scores(said.label, said.logits.argmax(axis=1), len(said.labels))


@pytest.mark.slow
def test_two_speakers_each_by_what_the_other_taught(tmp_path):
    """The whole road on 24 recordings of two women; chance is 1/3."""
    source = tmp_path / "source"
    source.mkdir()
    for speaker in ("08", "09"):
        for emotion in "NTW":
            found = sorted(SOURCE.rglob(f"{speaker}???{emotion}?.flac"))
            for path in found[:4]:
                shutil.copy(path, source)
    roots = roots_in(tmp_path)
    prepare.prepare("emodb", source, roots.data / "emodb", policy="loso")
    member = recipes.load(CONFIGS / "emodb_functionals.py")
    member.epochs = 30
    slice_of = Ensemble(name="slice", members=(member,), stacker="average")
    page = pipeline.run(slice_of.check(), roots)
    assert page.exists()
    assert scores_of(roots, "slice")["uar"] > 0.5


@pytest.mark.slow
def test_words_alone_know_nothing(tmp_path):
    """Every sentence is said in every emotion: above 0.2 macro-F1 there is a leak."""
    roots = roots_in(tmp_path)
    table = prepare.prepare("emodb", SOURCE, roots.data / "emodb", policy="loso")
    extract(table, "char_ngrams", roots.features)
    member = recipes.load(CONFIGS / "emodb_words.py")
    control = Ensemble(name="control", members=(member,), stacker="average")
    pipeline.run(control.check(), roots, jobs=2)
    assert scores_of(roots, "control")["macro_f1"] < 0.2
