"""Trains one ensemble member; rerun to resume. docs/run.md says what it leaves."""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib
import time
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jser.config import Experiment
from jser.data import batches
from jser.data.batches import TrainBatches
from jser.data.corpus import Corpus, open_corpus
from jser.emotions import NEUTRAL
from jser.features.store import Split
from jser.roots import Roots
from jser.shapes import Batch
from jser.statistics import metrics
from jser.training import checkpoints, compilation, losses, metrics_log, run_config
from jser.training.step import (
    Metrics,
    Own,
    Program,
    TrainState,
    Variables,
    init_state,
    jitted_step,
    make_optimizer,
    make_predict_step,
    make_schedule,
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a training run works with; everything but the state."""

    experiment: Experiment
    corpus: Corpus
    source: TrainBatches
    schedule: optax.Schedule
    fresh: TrainState
    program: Program
    own: Own
    dev: Split | None

    def evaluate(self, variables: Variables) -> dict[str, float]:
        """Dev scores; {} where there is no dev split."""
        if self.dev is None:
            return {}
        predict_step = make_predict_step(self.program.model)
        logits = logits_of(predict_step, variables, self.dev, self.corpus)
        return self.score(logits, self.dev)

    def score(self, logits: np.ndarray, dev: Split) -> dict[str, float]:
        """Macro-F1, UAR, accuracy and weighted loss of logits [N, C] on a split."""
        labels = self.corpus.table.labels
        target = dev.target(labels) * np.asarray(self.own.class_weight)
        loss = np.asarray(losses.cross_entropy(logits, target)).sum() / target.sum()
        found = metrics.scores(dev.label, logits.argmax(axis=1), len(labels))
        return found | {"loss": float(loss)}


def train(
    experiment: Experiment,
    roots: Roots,
    workdir: pathlib.Path | None = None,
    *,
    stop_after: int | None = None,
) -> TrainState:
    """Trains to the end, from the last checkpoint in `workdir` if there is one.

    Args:
      experiment: A checked config.
      roots: Where tables, features and runs lie.
      workdir: Of this run; `roots.workdir` when None.
      stop_after: Stop at this step, as if cut there (for tests).

    Returns:
      The last state. Equal, bit for bit, whether or not the run was cut and resumed.

    Raises:
      ValueError: if the config or table differs from the one being resumed, or a class
        has no utterance to train on.
      FloatingPointError: when the loss is not finite, naming run and step.
    """
    compilation.enable_cache()
    workdir = workdir or roots.workdir(experiment)
    corpus = open_corpus(roots, experiment.data, speed=experiment.augment.speed)
    task = prepare(experiment, corpus)
    run_config.write(workdir, experiment, corpus)
    with checkpoints.Checkpoints(workdir) as saved:
        state, latest = task.fresh, saved.latest_step()
        if latest is not None:
            state = saved.load(latest, state)
        stop = min(stop_after or len(task.source), len(task.source))
        if int(state.step) >= stop:
            return state
        with (
            metrics_log.MetricWriter(workdir, start=int(state.step)) as out,
            compilation.counted() as count,
        ):
            state = _loop(task, state, stop, saved, out)
            logging.info("%s: %s", experiment.name, count)
            return state


def prepare(experiment: Experiment, corpus: Corpus) -> Task:
    """Opens the splits and builds program, batches and fresh parameters."""
    split, labels = corpus.train(), corpus.table.labels
    source = TrainBatches(
        split,
        split.target(labels, soft=experiment.loss.soft_labels),
        corpus.levels,
        experiment.data,
        speed=experiment.augment.speed,
        seed=experiment.seed,
        epochs=experiment.epochs,
    )
    steps = source.steps_per_epoch
    schedule = make_schedule(
        experiment.optim, epochs=experiment.epochs, steps_per_epoch=steps
    )
    speech = tuple(s for s, spec in corpus.specs.items() if spec["kind"] == "speech")
    neutral = _neutral(labels, experiment)
    program = Program.of(experiment, len(labels), speech, neutral)
    init_key, run_key = jax.random.split(jax.random.key(experiment.seed))
    fresh = init_state(
        program.model,
        make_optimizer(experiment.optim, schedule),
        source[0],
        init_key,
    )
    name = experiment.data.dev_split
    weight_C = class_weights(split, labels, experiment)
    return Task(
        experiment=experiment,
        corpus=corpus,
        source=source,
        schedule=schedule,
        fresh=dataclasses.replace(fresh, standard=_standard(corpus, split)),
        program=program,
        own=Own.of(experiment, run_key, weight_C, steps),
        dev=corpus.split(name) if name else None,
    )


def _loop(
    task: Task,
    state: TrainState,
    stop: int,
    saved: checkpoints.Checkpoints,
    out: metrics_log.MetricWriter,
) -> TrainState:
    """Steps until `stop`; at each epoch's end it scores dev and may save."""
    start, step = int(state.step), jitted_step(task.program)
    size = sum(x.size for x in jax.tree.leaves(state.params))
    logging.info(
        "%s: %d steps of %d to go, %d parameters",
        *(task.experiment.name, stop - start, stop, size),
    )
    feed = Feed(batches.prefetch(task.source, start=start))
    journal = Journal(task, saved, out, feed, stop)
    for done, batch in enumerate(feed, start + 1):
        state, scalars = step(state, batch, task.own)
        feed.started(scalars["loss"])
        journal.step(done, scalars, batch)
        if done % task.source.steps_per_epoch == 0 and journal.epoch(
            done, scores := task.evaluate(state.variables)
        ):
            saved.save(state, scores)
        if done == stop:
            break
    return state


class Feed:
    """Hands out batches one step ahead of the device and measures how it waits.

    It lets one step queue behind the one that runs: the device goes on at once, and no
    more batches lie in its memory than that and the few that were read ahead.
    """

    def __init__(self, source: Iterator[Batch]):
        self._source = source
        self._running: jax.Array | None = None
        self.waited_s = 0.0  # How long the device had nothing to do; an upper bound.

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        began = time.perf_counter()
        batch = next(self._source)
        if self._running is None or self._running.is_ready():  # pyright: ignore
            self.waited_s += time.perf_counter() - began
        return batch

    def started(self, result: jax.Array) -> None:
        """Takes note of a step by one of its results; waits for the step before."""
        if self._running is not None:
            self._running.block_until_ready()
        self._running = result


class Journal:
    """What a run tells as it goes; it refuses to go on with a loss that is not finite.

    Losses are looked at only where metrics are due: looking stalls the device.
    """

    def __init__(
        self,
        task: Task,
        saved: checkpoints.Checkpoints,
        out: metrics_log.MetricWriter,
        feed: Feed,
        stop: int,
        member: int | None = None,
    ):
        """Of a run that ends at step `stop`; row `member` of what is handed over."""
        self._task, self._saved, self._out, self._feed = task, saved, out, feed
        self._stop, self._row = stop, () if member is None else member
        self._unseen: list[tuple[int, jax.Array, Any]] = []
        self._restart_clock()

    def step(self, done: int, scalars: Metrics, batch: Batch) -> None:
        """After step `done`: writes what is due.

        Raises:
          FloatingPointError: naming the run, the step and the last good checkpoint.
        """
        c, within = self._task.experiment, done % self._task.source.steps_per_epoch
        self._unseen.append((done, scalars["loss"], batch.weight))
        if done % c.log_every and within and done != self._stop:
            return
        for step, loss, _ in self._unseen:
            self._refuse_non_finite(step, self._of(loss))
        found = {f"train/{k}": self._of(v).item() for k, v in scalars.items()}
        found["train/lr"] = np.asarray(self._task.schedule(done - 1)).item()
        elapsed_s = time.perf_counter() - self._began
        real = sum(self._of(weight).sum() for _, _, weight in self._unseen)
        found["perf/utterances_per_s"] = real / elapsed_s
        found["perf/data_wait"] = (self._feed.waited_s - self._waited_s) / elapsed_s
        self._out.write(done, found)
        self._unseen.clear()
        self._restart_clock()

    def epoch(self, done: int, scores: dict[str, float]) -> bool:
        """After an epoch: writes its dev scores. Whether the state is to be saved."""
        c, epoch = self._task.experiment, done // self._task.source.steps_per_epoch
        if scores:
            self._out.write(done, {f"dev/{k}": v for k, v in scores.items()})
        shown = ", ".join(f"dev {k} {v:.3f}" for k, v in scores.items())
        logging.info("epoch %d of %d: %s", epoch, c.epochs, shown or "done")
        self._restart_clock()
        best = scores.get("macro_f1", -1.0) > self._saved.best_macro_f1()
        return best or epoch % c.checkpoint_every == 0 or epoch == c.epochs

    def _of(self, value: Any) -> np.ndarray | np.generic:
        return np.asarray(value)[self._row]

    def _restart_clock(self) -> None:
        self._began, self._waited_s = time.perf_counter(), self._feed.waited_s

    def _refuse_non_finite(self, step: int, loss: np.ndarray | np.generic) -> None:
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{self._saved.folder.parent}: step {step}: the loss is {loss}. The"
                f" last good checkpoint is of step {self._saved.latest_step()}. A lower"
                " --config.optim.lr may help."
            )


def logits_of(
    predict_step: Callable,
    variables: Variables,
    split: Split,
    corpus: Corpus,
    batch_size: int = 0,
) -> np.ndarray:
    """Logits [N, C] of all utterances of a split, in its order.

    Where `predict_step` speaks for members, they are [M, N, C].
    """
    size = batch_size or corpus.config.batch_size
    order, found = [], []
    for rows, batch in batches.eval_batches(split, corpus.levels, size):
        order.append(rows)
        found.append(np.asarray(predict_step(variables, batch))[..., : len(rows), :])
    return np.concatenate(found, axis=-2)[..., np.argsort(np.concatenate(order)), :]


def _standard(corpus: Corpus, split: Split) -> dict[str, dict[str, jax.Array]]:
    """The "standard" variables: by stream, the columns' mean and deviation on `split`.

    At most 1,024 utterances are read, evenly spaced.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, 1024).astype(int))
    standard = {}
    for s in corpus.config.standardize:
        frames = np.concatenate(split.read(rows)[s]).astype(np.float32)
        # A column that never changes carries nothing: 1 keeps it finite.
        deviation = frames.std(axis=0)
        standard[f"{s}_input"] = {
            "mean": jnp.asarray(frames.mean(axis=0)),
            "deviation": jnp.where(deviation > 1e-6, deviation, 1.0),
        }
    return standard


def _neutral(labels: tuple[str, ...], experiment: Experiment) -> int | None:
    """The number of the neutral class, if the loss asks for it."""
    if not experiment.loss.neutral_weight:
        return None
    if NEUTRAL not in labels:
        raise ValueError(
            f"loss.neutral_weight: needs {NEUTRAL!r} among the emotions, which are"
            f" {', '.join(labels)}. Set it to 0."
        )
    return labels.index(NEUTRAL)


def class_weights(
    split: Split, labels: tuple[str, ...], experiment: Experiment
) -> np.ndarray:
    """N / (C n_c) by class (equation 3 of the paper), or ones if they are off.

    Raises:
      ValueError: if a class has no utterance among those trained on.
    """
    count = np.bincount(split.label, minlength=len(labels))
    if absent := [name for name, n in zip(labels, count, strict=True) if n == 0]:
        raise ValueError(
            f"no utterance to train on of {', '.join(absent)} in split"
            f" {experiment.data.train_split!r} without the folds"
            f" {experiment.data.holdout}. Leave such classes out with"
            " scripts/prepare.py --keep, or hold out fewer folds."
        )
    if not experiment.loss.class_weights:
        return np.ones(len(labels), np.float32)
    return weights_of(count)


def weights_of(count: np.ndarray) -> np.ndarray:
    """N / (C n_c) of the utterances per class [C]."""
    return (count.sum() / (len(count) * count)).astype(np.float32)
