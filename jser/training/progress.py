"""Prefetching and logging around the training loop."""

from collections.abc import Iterator
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from jser.data.batches import TrainBatches
from jser.shapes import Batch
from jser.training import chance
from jser.training.checkpoints import Checkpoints
from jser.training.metrics_log import MetricWriter
from jser.training.setup import TrainingSetup
from jser.training.step import Metrics


class PrefetchIterator:
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


class TrainingLogger:
    """What a run tells as it goes; it refuses to go on with a loss that is not finite.

    Losses are looked at only where metrics are due: looking stalls the device.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        saved: Checkpoints,
        out: MetricWriter,
        batches: PrefetchIterator,
        stop: int,
        member: int | None = None,
    ):
        """Of a run that ends at step `stop`; row `member` of what is handed over."""
        self._setup, self._saved, self._out, self._batches = setup, saved, out, batches
        self._stop, self._row = stop, () if member is None else member
        self._unseen: list[tuple[int, Metrics]] = []
        self._before = saved.unwritten()  # By the run that this one goes on with.
        self._restart_clock()

    def step(self, done: int, scalars: Metrics) -> None:
        """After step `done`: writes what is due, means over the steps since the last.

        Raises:
          FloatingPointError: naming the run, the step and the last good checkpoint.
        """
        c, within = self._setup.experiment, done % self._setup.source.steps_per_epoch
        self._unseen.append((done, scalars))
        if done % c.log_every and within and done != self._stop:
            return
        self._refuse_non_finite()
        due = {f"train/{k}": self._mean(k) for k in scalars}
        if done == len(self._setup.source):
            due["train/constant_loss"] = chance.constant_loss(self._setup)
        due["train/lr"] = np.asarray(self._setup.schedule(done - 1)).item()
        elapsed_s = time.perf_counter() - self._began
        rows = self._setup.source.rows
        real = sum(len(rows(step - 1)) for step, _ in self._unseen)
        due["perf/utterances_per_s"] = real / elapsed_s
        due["perf/data_wait"] = (self._batches.waited_s - self._waited_s) / elapsed_s
        self._out.write(done, due)
        self._unseen.clear()
        self._before.clear()
        self._restart_clock()

    def unwritten(self) -> list[dict[str, float]]:
        """Scalars of the steps since the last line, for the run that will go on.

        Raises:
          FloatingPointError: as `step`.
        """
        self._refuse_non_finite()
        here = [
            {k: self._of(x).item() for k, x in scalars.items()}
            for _, scalars in self._unseen
        ]
        return [*self._before, *here]

    def epoch(self, done: int, scores: dict[str, float]) -> bool:
        """After an epoch: writes its dev scores. Whether the state is to be saved."""
        c, epoch = self._setup.experiment, done // self._setup.source.steps_per_epoch
        if scores:
            self._out.write(done, {f"dev/{k}": v for k, v in scores.items()})
        shown = ", ".join(f"dev {k} {v:.3f}" for k, v in scores.items())
        logging.info("epoch %d of %d: %s", epoch, c.epochs, shown or "done")
        self._restart_clock()
        best = scores.get("macro_f1", -1.0) > self._saved.best_macro_f1()
        return best or epoch % c.checkpoint_every == 0 or epoch == c.epochs

    def _of(self, value: Any) -> np.ndarray | np.generic:
        return np.asarray(value)[self._row]

    def _mean(self, name: str) -> float:
        """Mean of a scalar over the steps since the last line."""
        before = [x[name] for x in self._before]
        here = [self._of(x[name]).item() for _, x in self._unseen]
        return float(np.mean([*before, *here]))

    def _restart_clock(self) -> None:
        self._began, self._waited_s = time.perf_counter(), self._batches.waited_s

    def _refuse_non_finite(self) -> None:
        for step, scalars in self._unseen:
            if not np.isfinite(loss := self._of(scalars["loss"])):
                classes = len(self._setup.corpus.table.labels)
                cause = _not_finite(self._setup.source, step - 1, classes)
                raise FloatingPointError(
                    f"{self._saved.folder.parent}: step {step}: the loss is {loss}. The"
                    f" last good checkpoint is of step {self._saved.latest_step()}."
                    f" {cause or 'A lower --config.optim.lr may help.'}"
                )


def _not_finite(source: TrainBatches, index: int, classes: int) -> str:
    """The utterance of a batch whose frames or votes are to blame; empty if none."""
    rows = source.rows(index)
    frames, target = source.examples(index, source.split.read(rows))
    for i, row in enumerate(rows):
        what = {f"stream {s}": x[i] for s, x in frames.items()}
        what["votes"] = target[i, :classes]
        for name, values in what.items():
            if not np.isfinite(values).all():
                utt_id = source.split.utterances[row].utt_id
                return f"Not all finite: {name} of {utt_id!r}."
    return ""
