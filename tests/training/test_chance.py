"""A run that has learned nothing says so, and one that has learned does not."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jser.config import Experiment
from jser.config_rules import LOSSES
from jser.data.corpus import open_corpus
from jser.ensemble import checkpoint_metrics
from jser.report import subjects
from jser.training import chance, metrics_log, predict, step, together, train
from jser.training.setup import TrainingSetup
from tests.helpers import tiny_corpus

LOSS, ONE_CLASS = "the training loss of the last epoch", "are of one class"


def member(name: str, *, lr: float = 3e-2, **data) -> Experiment:
    """Of the words, which tell all; the first rate learns them, the least nothing."""
    c = tiny_corpus.experiment(text="char_ngrams")
    c.name, c.epochs, c.optim.lr, c.optim.final_lr = name, 6, lr, lr
    c.data = dataclasses.replace(c.data, **data)
    return c.check()


DEAF = 1e-12  # A rate.


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """A run that learns nothing, alone; three together, two of which learn nothing."""
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))
    told: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())

    keeper = Keeper(logging.WARNING)
    logging.getLogger("absl").addHandler(keeper)
    train.train(member("alone", lr=DEAF), roots)
    alone, told = told.copy(), told.clear() or told
    many = [member("good"), member("deaf", lr=DEAF)]
    together.train_together([*many, member("deaf", lr=DEAF, holdout=(1,))], roots)
    logging.getLogger("absl").removeHandler(keeper)
    return roots, alone, told


def test_a_run_that_learns_nothing_warns_at_its_end(runs):
    _, (warning, *_), _ = runs
    assert warning.startswith(f"alone: {LOSS} is no better than that of the best const")
    assert "--config.data.standardize=text, a lower or a higher --config.opt" in warning


def test_together_those_that_learn_nothing_warn(runs):
    _, _, told = runs
    assert any(w.startswith(f"deaf: {LOSS}") for w in told)
    assert any(w.startswith(f"deaf without fold 1: {LOSS}") for w in told)
    assert not any(w.startswith("good") for w in told)


def test_the_report_says_it_again(runs):
    roots, *_ = runs
    for name in ("good", "deaf"):
        predict.predict(roots, roots.runs / name, "test")
        noted = subjects.of_run(roots.runs / name, roots).notes
        assert any(n.startswith(f"{name}: {LOSS}") for n in noted) == (name == "deaf")


def test_the_constant_is_told_once_at_the_end(runs):
    roots, *_ = runs
    lines = metrics_log.read(roots.runs / "good" / "metrics.jsonl")
    constant = "train/constant_loss"
    told = {x["step"]: x[constant] for x in lines if constant in x}
    assert told == {18: pytest.approx(np.log(3))}


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", LOSSES)
def test_no_constant_answer_is_better(corpus, kind, smoothing, weights):
    """By the loss of the step itself, over the utterances of the last epoch."""
    c = member("any", batch_size=7, sampler="neutral_balanced")
    c.loss.kind, c.loss.label_smoothing = kind, smoothing
    setup = TrainingSetup.of(c, open_corpus(corpus, c.data))
    given = dataclasses.replace(setup.hyperparameters, class_weight=np.array(weights))
    setup = dataclasses.replace(setup, hyperparameters=given)
    per_epoch = setup.source.steps_per_epoch
    batches = [setup.source[len(setup.source) - 1 - k] for k in range(per_epoch)]
    targets = [b.target * (1 - smoothing) + smoothing / 3 for b in batches]

    @jax.jit
    @jax.value_and_grad
    def loss(logits_C):
        loss, total = 0.0, 0.0
        for batch, target in zip(batches, targets, strict=True):
            logits = jnp.broadcast_to(logits_C, target.shape)
            by_row = step._emotion_loss(c.loss, logits, target, jnp.array(weights))
            loss += (batch.weight * by_row).sum()
            total += (batch.weight * (target * jnp.array(weights)).sum(axis=1)).sum()
        return loss / total

    found = optimize.minimize(loss, np.zeros(3), jac=True)
    assert chance.constant_loss(setup) == pytest.approx(found.fun, abs=1e-5)


def line(at: int, loss: float, **more: float) -> dict[str, float]:
    return {"step": at, "train/loss": loss} | {f"train/{k}": v for k, v in more.items()}


@pytest.mark.parametrize(
    ("lines", "at_chance"),
    [
        # Three epochs of four steps; the mean counts steps, of the last epoch alone.
        ([line(8, 9.0), line(9, 2.0), line(12, 0.6, constant_loss=1.0)], False),
        ([line(8, 0.0), line(11, 1.0), line(12, 0.98, constant_loss=1.0)], True),
        ([line(12, 0.98, constant_loss=1.0)], False),
        ([line(12, 1.4, neutral_loss=0.5, constant_loss=1.0)], False),
        ([line(12, 1.4, neutral_loss=0.3, constant_loss=1.0)], True),
        ([line(8, 5.0)], False),  # Not at its end, or of an earlier version.
        ([line(12, 5.0)], False),
        ([], False),
    ],
)
def test_the_last_epoch_is_compared(lines, at_chance):
    c = tiny_corpus.experiment()
    c.loss.neutral_weight = 1.0 if any("train/neutral_loss" in x for x in lines) else 0
    assert bool(chance.faults(c, lines, None)) == at_chance


@pytest.mark.parametrize(
    ("best", "told"),
    [({"most_predicted": 1.0}, True), ({"most_predicted": 0.9}, False), ({}, False)],
)
def test_one_class_on_dev_is_told(best, told):
    found = chance.faults(tiny_corpus.experiment(), [], best)
    assert [ONE_CLASS in fault for fault in found] == [True] * told


def test_how_many_dev_predictions_are_of_one_class(corpus, runs, experiment):
    setup = TrainingSetup.of(experiment, open_corpus(corpus, experiment.data))
    assert setup.dev
    logits = np.eye(3, dtype=np.float32)[[2] * 9 + [0] * 3]
    assert setup.score(logits, setup.dev, 3)["most_predicted"] == 0.75
    best = checkpoint_metrics.best(runs[0].runs / "good")
    assert best
    assert best["most_predicted"] < 1
