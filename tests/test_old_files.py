"""What version 0.1.0 left on disk, before formats had schema numbers, is read today.

`fixtures/before_schemas.zip` holds a table, features, two members with a fold each left
out, their combination and its results, as that version's `run.py` wrote them.
"""

import json
import zipfile

import numpy as np
import pytest

from jser import files
from jser.config import Ensemble
from jser.corpora import tables
from jser.ensemble import run_config, stacker_store
from jser.ensemble.combine import combine
from jser.ensemble.logits import Logits, OutdatedError
from jser.features import verify
from jser.report import results, subjects
from jser.roots import Roots
from jser.training import predict, train
from tests.helpers.paths import FIXTURES


@pytest.fixture
def old(tmp_path) -> Roots:
    with zipfile.ZipFile(FIXTURES / "before_schemas.zip") as archive:
        archive.extractall(tmp_path)
    folders = {name: tmp_path / name for name in ("data", "features", "runs")}
    return Roots(**folders)


def ensemble(old: Roots) -> Ensemble:
    members = tuple(run_config.read(old.runs / name)[0] for name in ("one", "two"))
    return Ensemble(name="both", members=members, stacker="weighted_average").check()


def test_table_and_features(old):
    assert len(tables.read(old.data / "small").utterances) == 30
    assert verify.verify(old.features / "small" / "prosody" / "1.0.0") == []


def test_fields_that_have_other_names_today(old):
    one, two = ensemble(old).members
    assert (one.data.length_buckets, two.data.length_buckets) == (2, 2)
    assert one.data.sampler == "neutral_balanced"
    assert two.data.sampler == "class_balanced"


def test_a_finished_run_is_neither_trained_nor_predicted_again(old, monkeypatch):
    monkeypatch.setattr(predict, "logits_of", None)
    for member in ensemble(old).members:
        workdir = old.workdir(member)
        before = (workdir / "config.json").read_bytes()
        step = int(train.train(member, old).step)
        assert (
            step
            == json.loads((workdir / "metrics.jsonl").read_text().split("\n")[-2])[
                "step"
            ]
        )
        assert (workdir / "config.json").read_bytes() == before
        kept = Logits.load(workdir / "logits" / "test.npz")
        again = predict.predict(old, workdir, "test")
        np.testing.assert_array_equal(again.logits, kept.logits)
        np.testing.assert_array_equal(again.made_by, kept.made_by)


def test_a_checkpoint_predicts_what_it_did(old):
    workdir = old.runs / "one"
    kept = Logits.load(workdir / "logits" / "test.npz")
    (workdir / "logits" / "test.npz").unlink()
    again = predict.predict(old, workdir, "test")
    np.testing.assert_allclose(again.logits, kept.logits, atol=1e-5)


def test_logits_that_lack_something_are_predicted_again(old):
    path = old.runs / "one" / "logits" / "test.npz"
    kept = Logits.load(path)
    with np.load(path) as data:
        columns = {name: data[name] for name in data.files if name != "speaker_seen"}
    np.savez(path, **columns)
    with pytest.raises(
        OutdatedError, match=r"without speaker_seen.*jser predict again"
    ):
        Logits.load(path)
    again = predict.predict(old, old.runs / "one", "test")
    np.testing.assert_array_equal(again.speaker_seen, kept.speaker_seen)


def test_the_same_combination_and_results(old):
    folder, config = old.runs / "both", ensemble(old)
    assert stacker_store.load(folder)[-1].kind == "weighted_average"
    kinds = ("average", "weighted_average")
    paths = [folder / "logits" / kind / "test.npz" for kind in kinds]
    kept = [Logits.load(path).logits for path in paths]
    combine(config, old)
    for path, logits in zip(paths, kept, strict=True):
        np.testing.assert_array_equal(Logits.load(path).logits, logits)
    before = files.read_json(folder / "results.json")
    now = json.loads(json.dumps(results.score(subjects.of_ensemble(config, old))))
    for field in ("schema", "commands"):  # New, and told by the command line today.
        now.pop(field), before.pop(field, None)
    for of in (of for by_split in now["systems"].values() for of in by_split.values()):
        assert of.pop("distribution") == of.pop("attributes") == {}  # Nobody's said.
    assert now == before


def test_runs_are_not_scored_under_another_config(old):
    config = ensemble(old)
    config.members[1].optim.lr = 3e-3
    with pytest.raises(ValueError, match=r"two.*optim\.lr was 0\.01, is 0\.003"):
        subjects.of_ensemble(config, old)


@pytest.mark.parametrize("name", ["data/small/table.json", "runs/one/config.json"])
def test_files_of_a_newer_version_are_refused(old, name):
    path = old.data.parent / name
    files.write_json(path, files.read_json(path) | {"schema": 99})
    read = tables.read if path.name == "table.json" else run_config.read
    with pytest.raises(ValueError, match=r"of schema 99, .*newer one"):
        read(path.parent)
