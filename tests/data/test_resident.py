"""Frames that stay on the devices give what frames that are sent give, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

from jser import devices
from jser.data.corpus import open_corpus
from jser.data.resident import Residence
from jser.training import metrics_log, together, train
from jser.training.setup import TrainingSetup, reside
from tests.helpers import tiny_corpus


def experiment(seed: int = 0):
    c = tiny_corpus.experiment()
    c.name, c.seed, c.data.batch_size = f"seed{seed}", seed, 10  # The last is short.
    c.augment.noise, c.augment.mixup = 0.1, 0.2
    return c.check()


def told(roots, c) -> list[dict[str, float]]:
    """The losses and dev scores of a run."""
    lines = metrics_log.read(roots.workdir(c) / "metrics.jsonl")
    return [{k: v for k, v in x.items() if not k.startswith("perf/")} for x in lines]


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def sent(corpus, tmp_path_factory):
    """Runs whose batches were read and sent; where, and the first one's state."""
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("sent"))
    return roots, train.train(experiment(), roots)


def test_a_run_is_the_same(corpus, sent, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    state = train.train(experiment(), roots, resident=True)
    equal(state.params, sent[1].params)
    assert told(roots, experiment()) == told(sent[0], experiment())


def test_runs_together_are_the_same(corpus, tmp_path):
    some = [experiment(seed) for seed in range(3)]
    some[1].data.holdout = (0,)  # Other utterances than the rest.
    here, there = (
        tiny_corpus.elsewhere(corpus, tmp_path / name) for name in ("sent", "resident")
    )
    together.train_together(some, here)
    together.train_together(some, there, resident=True)
    for c in some:
        assert told(here, c) == told(there, c)


def test_a_batch_is_told_by_numbers_alone(corpus):
    c = experiment()
    plain = TrainingSetup.of(c, open_corpus(corpus, c.data))
    layout = devices.Layout.of(c.data.batch_size)
    (setup,) = reside([plain], layout)
    size = lambda batch: sum(x.nbytes for x in jax.tree.leaves(batch.streams))
    for i in range(len(plain.source)):
        told, batch = setup.source[i], plain.source[i]
        assert all(x.x.dtype == np.int32 for x in told.streams.values())
        assert size(told) < size(batch)
        equal(setup.source.filled(layout.split(told)), batch)


def test_what_changes_frames_as_they_are_read_is_refused(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    c = experiment()
    c.augment.speed = 0.1
    with pytest.raises(ValueError, match=r"augment\.speed changes"):
        train.train(c, roots, resident=True)
    setup = TrainingSetup.of(experiment(), open_corpus(corpus, experiment().data))
    split = dataclasses.replace(setup.source.split, adapted=("speech",))
    with pytest.raises(ValueError, match=r"data\.adapt=speaker"):
        Residence([split], devices.Layout.of(10))


def test_frames_that_do_not_fit_are_refused(corpus, monkeypatch):
    setup = TrainingSetup.of(experiment(), open_corpus(corpus, experiment().data))
    stats = {"bytes_limit": 5_000, "bytes_in_use": 1_000}
    layout = devices.Layout.of(10)
    kind = type(layout.mesh.devices.flat[0])
    monkeypatch.setattr(kind, "memory_stats", lambda self: stats)
    with pytest.raises(ValueError, match=r"GB free, of which they may take 80%"):
        reside([setup], layout)
