"""What Whisper heard on EMO-DB, as sentence vectors, tells no emotions apart.

fixtures/emodb_heard.npz holds, by utt_id, the mean of MiniLM's last states over the
words that Whisper base heard, float16 [384]:

    jser transcribe --table data/emodb --weights openai/whisper-base --language de \
        --all --context short
    jser extract --table data/emodb --frontend minilm.pooled
"""

import csv

import numpy as np
import pytest

from jser import archives, emotions, pipeline, recipes
from jser.config import Ensemble
from jser.corpora import prepare
from jser.ensemble.logits import Logits
from jser.features import arrays
from jser.features.extract import extract
from jser.roots import Roots
from jser.statistics import metrics
from tests.helpers.paths import FIXTURES

HEARD = FIXTURES / "emodb_heard.npz"


@pytest.fixture
def roots(tmp_path):
    """A table without sounds, and a stream of what was heard."""
    vectors = archives.read_npz(HEARD)
    path = tmp_path / "emodb.csv"
    with path.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("utt_id", "emotion", "speaker"))
        writer.writerows((u, emotions.EMODB[u[5]], u[:2]) for u in vectors)
    roots = Roots(data=tmp_path / "data", features=tmp_path / "f", runs=tmp_path / "r")
    table = prepare.prepare("csv", path, roots.data / "emodb", policy="loso")
    source = tmp_path / "heard.npz"
    np.savez(source, allow_pickle=False, **{u: x[None] for u, x in vectors.items()})
    heard = arrays.front_end(table, source, name="heard", kind="text")
    extract(table, heard, roots.features)
    return roots


def members():
    for name in ("emodb_words", "emodb_whisper_probe"):
        member = recipes.load(name)
        member.data.streams = {"text": "heard"}
        member.data.standardize = ("text",)
        yield member


@pytest.mark.slow
def test_words_alone_stay_at_chance(roots):
    """Every sentence is said in every emotion: chance is 1/7, and .25 would be a leak.

    What is heard wrong may tell a little, as of those who shout.
    """
    control = Ensemble(name="control", members=tuple(members()), stacker="average")
    pipeline.run(control.check(), roots)
    for member in ("emodb_words", "emodb_whisper_probe"):
        said = Logits.concatenate(
            [
                Logits.load(path)
                for path in sorted(
                    (roots.runs / member).glob("holdout_*/logits/heldout.npz")
                )
            ]
        )
        predicted = said.logits.argmax(axis=1)
        assert len(said) == 535
        assert metrics.scores(said.label, predicted, 7)["uar"] < 0.25
