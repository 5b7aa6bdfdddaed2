"""A finished run predicts utterances that its table has got since."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile

from jser import files
from jser.config import Experiment
from jser.corpora import tables
from jser.ensemble import provenance
from jser.features.extract import extract
from jser.report import subjects
from jser.roots import Roots
from jser.training import predict, together, train
from tests.helpers import tiny_corpus


def run_of(roots: Roots, **fields) -> Experiment:
    experiment = tiny_corpus.experiment()
    experiment.epochs = 1
    train.train(experiment, roots, **fields)
    return experiment


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Roots:
    home = tmp_path_factory.mktemp("finished")
    for folder in ("data", "features"):
        shutil.copytree(getattr(corpus, folder), home / folder)
    source = tables.read(corpus.data / "small")
    shutil.copytree(source.folder / source.audio_root, home / "sounds")
    table = dataclasses.replace(source, audio_root="../../sounds")
    tables.write(table, home / "data" / "small")
    roots = Roots(**{n: home / n for n in ("data", "features", "runs")})
    predict.predict(roots, roots.workdir(run_of(roots)), "test")
    return roots


@pytest.fixture
def roots(finished, tmp_path) -> Roots:
    home = shutil.copytree(finished.data.parent, tmp_path / "home")
    return Roots(**{n: home / n for n in ("data", "features", "runs")})


def change(roots: Roots, rows) -> None:
    table = tables.read(roots.data / "small")
    changed = dataclasses.replace(table, utterances=tuple(rows(table.utterances)))
    tables.write(changed, roots.data / "small")
    table = tables.read(roots.data / "small")
    for front_end in ("logmel", "char_ngrams"):
        extract(table, front_end, roots.features, workers=1)


def grow(roots: Roots) -> None:
    """One more utterance to test, first in the table; one less; longer than all."""
    path = roots.data.parent / "sounds" / "new.wav"
    soundfile.write(path, tiny_corpus.tone(300, 2.0), 16_000)

    def grown(rows):
        new = dataclasses.replace(
            next(u for u in rows if u.split == "test"),
            utt_id="new",
            file=path.name,
            speaker="f",
            sha256=files.file_digest(path),
        )
        return [new, *reversed(rows[:-1])]

    change(roots, grown)


def test_new_utterances_are_predicted(roots):
    workdir = roots.workdir(tiny_corpus.experiment())
    before = predict.predict(roots, workdir, "test")
    config = (workdir / "config.json").read_bytes()
    grow(roots)
    after = predict.predict(roots, workdir, "test")
    ids = before.utt_id.tolist()
    assert after.utt_id.tolist() == sorted([*ids[:-1], "new"])
    both = np.isin(after.utt_id, before.utt_id)
    np.testing.assert_allclose(after.logits[both], before.logits[:-1], atol=1e-5)
    assert not after.speaker_seen.any()

    experiment = tiny_corpus.experiment()
    experiment.epochs = 1
    for again in (
        lambda: train.train(experiment, roots),
        lambda: together.train_together([experiment], roots),
    ):
        again()
        assert (workdir / "config.json").read_bytes() == config
    table = tables.read(roots.data / "small")
    found = provenance.of_run(workdir, experiment, "test", table, roots)
    np.testing.assert_array_equal(found.logits, after.logits)
    assert subjects.of_run(workdir, roots).systems["small"].keys() == {"test"}


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.parametrize(
    "fields",
    [{"emotion": "neutral"}, {"transcript": "other words"}, {"speaker": "z"}, None],
)
def test_what_it_learned_from_must_be_the_same(roots, split, fields):
    workdir = roots.workdir(tiny_corpus.experiment())

    def changed(rows):
        i = next(i for i, u in enumerate(rows) if u.split == split)
        new = [dataclasses.replace(rows[i], **fields)] if fields else []
        return [*rows[:i], *new, *rows[i + 1 :]]

    change(roots, changed)
    with pytest.raises(ValueError, match="small: trained with table"):
        predict.predict(roots, workdir, "test")
    experiment = tiny_corpus.experiment()
    experiment.epochs = 1
    with pytest.raises(ValueError, match=r"learned_from was .*; table was"):
        train.train(experiment, roots)


def test_a_run_under_way_goes_on_with_its_own_table(roots):
    shutil.rmtree(roots.runs)
    experiment = run_of(roots, stop_after=1)
    grow(roots)
    with pytest.raises(ValueError, match="another one: table was"):
        train.train(experiment, roots)


@pytest.mark.parametrize("of", ["an earlier version", "padding that is read"])
def test_other_runs_go_with_their_own_table(roots, of):
    workdir = roots.workdir(tiny_corpus.experiment())
    config = files.read_json(workdir / "config.json")
    if of == "an earlier version":
        del config["learned_from"]
    else:
        config["config"]["model"]["mask_padding"] = False
    files.write_json(workdir / "config.json", config)
    grow(roots)
    with pytest.raises(ValueError, match="small: trained with table"):
        predict.predict(roots, workdir, "test")
