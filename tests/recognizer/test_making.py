"""A trained ensemble becomes a folder, and that says what the ensemble says."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from jser.corpora import tables
from jser.ensemble import stacking
from jser.ensemble.logits import Logits
from jser.recognizer import bundle, making
from jser.recognizer.network import calibrated
from jser.recognizer.recognizer import Recognizer
from tests.helpers import tiny_corpus, tiny_model


@pytest.fixture(scope="module")
def roots(corpus, tmp_path_factory):
    return tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(roots):
    return tiny_model.make(roots, license="cc0-1.0", language="de,en")


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny"
    made.save(path)
    return path


def test_it_says_what_prediction_and_average_say(roots, folder):
    """Alone, as bytes, in a list, in another order: of every test utterance."""
    table = tables.read(roots.data / "small")
    rows = sorted(table.select("test"), key=lambda u: u.utt_id)
    paths = [table.audio_path(u) for u in rows]
    by_member = {
        m.name: Logits.load(roots.workdir(m) / "logits" / "test.npz")
        for m in tiny_model.members()
    }
    r = Recognizer.load(folder)
    joined = stacking.join(by_member)
    temperature = bundle.load(folder).calibration.temperature
    want = calibrated(stacking.average(joined).logits, temperature)
    backwards = list(r.many(paths[::-1]))[::-1]
    for answers in (
        [r(p) for p in paths],
        [r(p.read_bytes()) for p in paths[:3]],
        list(r.many(paths)),
        backwards,
    ):
        got = [[a.scores[name] for name in r.labels] for a in answers]
        np.testing.assert_allclose(got, want[: len(got)], atol=1e-5)


def test_what_is_loaded_is_what_was_made(made, folder):
    loaded = bundle.load(folder)
    assert loaded.digest == made.digest
    assert (loaded.labels, loaded.far) == (made.labels, made.far)
    assert loaded.calibration == made.calibration
    assert loaded.about == json.loads(json.dumps(made.about))
    assert {p.name for p in folder.iterdir()} == {
        *("config.json", "model.safetensors", "README.md")
    }


def test_it_names_no_utterance(roots, folder):
    held = b"".join(p.read_bytes() for p in folder.iterdir())
    for u in tables.read(roots.data / "small").utterances:
        assert u.utt_id.encode() not in held
        assert u.sha256.encode() not in held


def test_the_card_is_the_hubs(folder):
    head = (folder / "README.md").read_text().split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert json.loads(fields["license"]) == "cc0-1.0"
    assert json.loads(fields["language"]) == ["de", "en"]
    assert json.loads(fields["pipeline_tag"]) == "audio-classification"
    (index,) = json.loads(fields["model-index"])
    (result,) = index["results"]
    assert result["dataset"]["split"] == "test"
    text = (folder / "README.md").read_text()
    assert "no diagnosis" in text
    assert "Article 5(1)(f)" in text


def test_made_again_it_is_the_same(roots, made):
    again = making.make(tiny_model.ensemble(), roots, name="tiny")
    assert again.digest == made.digest


def test_a_folder_with_something_else_is_left_alone(made, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="something else is there"):
        made.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_single_run_is_a_model_too(roots, made):
    workdir = roots.workdir(tiny_model.members()[1])
    alone = making.make(making.of_run(workdir), roots, name="alone")
    assert [m.experiment.name for m in alone.members] == ["tiny_probe"]
    assert alone.digest != made.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.adapt": "speaker"}, "which one recording does not have"),
        ({"model.mask_padding": False}, "depends on batch mates"),
    ],
)
def test_what_cannot_be_used_on_new_sounds_is_refused(roots, change, message):
    ensemble = tiny_model.ensemble()
    member = ensemble.members[0]
    ((field, value),) = change.items()
    section, name = field.split(".")
    setattr(getattr(member, section), name, value)
    with pytest.raises(ValueError, match=message):
        making.make(ensemble, roots, name="x")


def test_a_stacker_that_learns_in_sample_is_refused(roots):
    ensemble = dataclasses.replace(tiny_model.ensemble(), stacker="paper")
    with pytest.raises(ValueError, match="no confidence can be had of it"):
        making.make(ensemble, roots, name="x")


def test_it_needs_neither_data_nor_features(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound = tiny_corpus.tone(270, 0.5), 16_000
    assert Recognizer.load(pathlib.Path(folder))(sound).label
