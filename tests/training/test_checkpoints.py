"""Damaged checkpoints end in one line, and the one before is good."""

import re
import shutil

import jax.numpy as jnp
import pytest

from jser import files
from jser.data.corpus import open_corpus
from jser.ensemble import run_config
from jser.training import checkpoints
from jser.training.checkpoints import Checkpoints
from jser.training.setup import TrainingSetup
from tests.helpers import tiny_corpus


@pytest.fixture
def state(corpus, tmp_path):
    """A fresh one of a run that lies in tmp_path."""
    experiment = tiny_corpus.experiment()
    opened = open_corpus(corpus, experiment.data)
    run_config.write(tmp_path, experiment, opened)
    return TrainingSetup.of(experiment, opened).fresh


def save(workdir, state) -> None:
    with Checkpoints(workdir) as saved:
        for step, score in ((1, 0.5), (2, 0.4)):
            numbered = state.replace(step=jnp.int32(step))
            saved.save(numbered, {"macro_f1": score})


def load_latest(workdir, state) -> int:
    with Checkpoints(workdir) as saved:
        return int(saved.load(saved.latest_step() or 0, state).step)


def test_a_damaged_part_is_named_and_without_it_the_one_before_is_taken(
    tmp_path, state
):
    save(tmp_path, state)
    folder = tmp_path / "checkpoints" / "2"
    for part in ("metrics/metrics", "state/manifest.ocdbt", "state/_METADATA"):
        whole = (folder / part).read_bytes()
        (folder / part).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=re.escape(f"Remove {folder} ")) as e:
            load_latest(tmp_path, state)
        assert "\n" not in str(e.value)
        (folder / part).write_bytes(whole)
    shutil.rmtree(folder)
    assert load_latest(tmp_path, state) == 1


def test_a_full_disk_is_told_when_a_save_ends(tmp_path, state, monkeypatch):
    """Orbax writes in threads, and tells when it is waited for."""

    def full(_) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device [os_error='28']")

    monkeypatch.setattr(checkpoints.ocp.training.Checkpointer, "close", full)
    with pytest.raises(files.DiskFullError, match=f"disk of {tmp_path}"):
        save(tmp_path, state)
