import dataclasses
import shutil

import numpy as np
import pytest

from jser import files
from jser.ensemble import checkpoint_metrics, run_config
from jser.ensemble.logits import Logits
from jser.training import predict, train
from jser.training.checkpoints import Checkpoints
from tests.helpers import tiny_corpus


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))
    experiment = tiny_corpus.experiment()
    experiment.data.holdout = (0,)
    train.train(experiment, roots)
    return roots, roots.workdir(experiment)


def test_neither_batch_size_nor_mates_change_a_logit(run):
    roots, workdir = run
    said = {}
    for size in (1, 7, 64):
        for old in (workdir / "logits").glob("test.npz"):
            old.unlink()
        said[size] = predict.predict(roots, workdir, "test", batch_size=size).logits
    assert np.ptp(said[1], axis=0).max() > 1e-3
    for size in (7, 64):
        np.testing.assert_allclose(said[size], said[1], atol=1e-5)


def test_what_the_file_holds(run):
    roots, workdir = run
    found = predict.predict(roots, workdir, "heldout")
    assert found.utt_id.tolist() == sorted(found.utt_id.tolist())
    assert set(found.fold) == {0}
    assert not found.in_sample.any()
    assert not found.speaker_seen.any()
    assert found.labels.tolist() == ["angry", "sad", "neutral"]
    assert found.logits.shape == (len(found), 3)
    assert {u.split("_")[0] for u in found.utt_id} == set(found.speaker)

    trained_on = predict.predict(roots, workdir, "train")
    assert trained_on.in_sample.sum() == len(trained_on) - len(found)
    assert set(trained_on.fold[~trained_on.in_sample]) == {0}
    np.testing.assert_array_equal(trained_on.speaker_seen, trained_on.in_sample)


def test_what_was_said_is_not_computed_again(run, monkeypatch):
    roots, workdir = run
    first = predict.predict(roots, workdir, "dev")
    monkeypatch.setattr(predict, "logits_of", None)
    again = predict.predict(roots, workdir, "dev")
    np.testing.assert_array_equal(first.logits, again.logits)


@pytest.fixture
def copy(run, tmp_path):
    """The run, to spoil, with its logits on dev."""
    roots, workdir = run
    predict.predict(roots, workdir, "dev")
    shutil.copytree(roots.runs, tmp_path / "runs")
    there = tmp_path / "runs" / workdir.relative_to(roots.runs)
    return tiny_corpus.elsewhere(roots, tmp_path / "runs"), there


def test_only_logits_of_an_earlier_checkpoint_are_written_over(copy):
    roots, workdir = copy
    path = workdir / "logits" / "dev.npz"
    whole = Logits.load(path)
    earlier = f"{run_config.digest(workdir)}@1"
    dataclasses.replace(whole, made_by=np.array([earlier])).save(path)
    again = predict.predict(roots, workdir, "dev")
    assert again.made_by.tolist() == whole.made_by.tolist() != [earlier]
    for change in (
        {"made_by": np.array(["another@9"])},
        {"system": "average"},
        {"label": 2 - whole.label},
    ):
        dataclasses.replace(whole, **change).save(path)
        before = path.read_bytes()
        with pytest.raises(
            ValueError, match=r"dev\.npz: .*Remove it and run jser pred"
        ):
            predict.predict(roots, workdir, "dev")
        assert path.read_bytes() == before


def test_a_config_that_was_edited_is_not_what_the_checkpoints_were_trained_by(copy):
    roots, workdir = copy
    shutil.rmtree(workdir / "logits")
    config = files.read_json(workdir / "config.json")
    config["config"]["model"]["mask_padding"] = False
    files.write_json(workdir / "config.json", config)
    with pytest.raises(
        ValueError, match=r"metrics: of the run .*config\.json there is"
    ):
        predict.predict(roots, workdir, "dev")
    experiment, _ = run_config.read(workdir)
    with pytest.raises(ValueError, match=r"metrics: of the run .*remove .* and train"):
        train.train(experiment, roots)


def test_metrics_that_were_edited_choose_no_checkpoint(copy):
    roots, workdir = copy
    for path in workdir.glob("checkpoints/*/metrics/metrics"):
        path.write_text(path.read_text().replace('"uar": 0.', '"uar": 0.9'))
    for use in (
        lambda: predict.predict(roots, workdir, "test"),
        lambda: train.train(run_config.read(workdir)[0], roots),
    ):
        with pytest.raises(ValueError, match="metrics/metrics: edited"):
            use()


def test_a_state_of_another_step_is_refused(copy):
    roots, workdir = copy
    with Checkpoints(workdir) as saved:
        latest = workdir / "checkpoints" / str(saved.latest_step())
    other = latest.with_name("99")
    shutil.copytree(latest, other)
    metrics = checkpoint_metrics.made(workdir, 99, {"macro_f1": 2.0})
    files.write_json(other / "metrics" / "metrics", metrics)
    with pytest.raises(ValueError, match=rf"99: holds the state of step {latest.name}"):
        predict.predict(roots, workdir, "test")


def test_unknown_split_lists_the_known(run):
    roots, workdir = run
    with pytest.raises(ValueError, match="no split 'eval'; it has dev, test, train"):
        predict.predict(roots, workdir, "eval")


def test_no_run_names_the_command(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"jser train"):
        predict.predict(run[0], tmp_path, "dev")


def test_a_damaged_file_is_refused(run, tmp_path):
    roots, workdir = run
    predict.predict(roots, workdir, "dev")
    path = workdir / "logits" / "dev.npz"
    (tmp_path / "half.npz").write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="damaged"):
        Logits.load(tmp_path / "half.npz")
    with pytest.raises(FileNotFoundError, match=r"jser predict"):
        Logits.load(tmp_path / "none.npz")


def test_concatenated_parts_must_not_overlap(run):
    roots, workdir = run
    one = predict.predict(roots, workdir, "dev")
    other = predict.predict(roots, workdir, "test")
    both = Logits.concatenate([one, other])
    assert both.utt_id.tolist() == sorted([*one.utt_id, *other.utt_id])
    with pytest.raises(ValueError, match="12 utterances twice"):
        Logits.concatenate([one, one])
    renamed = dataclasses.replace(other, labels=np.array(["x", "y", "z"]))
    with pytest.raises(ValueError, match="label sets"):
        Logits.concatenate([one, renamed])
