"""Trains runs of like shapes in one step: folds, seeds, members that share streams.

The step of `step.StepConfig` is mapped over a leading axis M of states and batches.
Each run keeps its own batches, dropout, class weights and schedule, and leaves what it
leaves alone (docs/run.md). Whatever it is padded to beside others changes neither its
logits nor its dropout, so the numbers are the same up to rounding.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import functools
import json
import pathlib
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jser import devices, processes
from jser.config import Data, Experiment
from jser.data import batches
from jser.data.corpus import Corpus, open_corpus
from jser.data.members import MemberBatches
from jser.ensemble import checkpoint_metrics, run_config
from jser.features import store
from jser.roots import Roots
from jser.training import chance, checkpoints, compilation, metrics_log, train
from jser.training.inference import logits_of, make_predict_step
from jser.training.progress import PrefetchIterator, TrainingLogger
from jser.training.setup import TrainingSetup, reside
from jser.training.step import Metrics, StepConfig, TrainState

AT_ONCE = 12  # Members in a step: what the device's memory is meant to hold.


def groups(experiments: Sequence[Experiment], roots: Roots) -> list[list[int]]:
    """Which experiments can train in one step, by their numbers; `AT_ONCE` at most.

    They agree in the network and its widths, batch size, number of padded lengths,
    augmentation, kind of loss and kind of schedule. A member with a neutral head goes
    with one without. One that reads padding trains alone: its logits depend on it.
    So does one whose encoder learns, or that begins with another run.
    """
    alike: dict[str, list[int]] = {}
    for i, c in enumerate(experiments):
        front_ends = c.data.streams.values()
        specs = [store.spec_of(roots.features, c.data.corpus, f) for f in front_ends]
        key = [
            StepConfig.of(c, 0, (), None).config,
            [(s["width"], s["layers"], s["kind"]) for s in specs],
            c.data.corpus,
            None if c.model.mask_padding and not (c.tune.encoder or c.init_from) else i,
        ]
        alike.setdefault(json.dumps(key), []).append(i)
    return [
        [int(i) for i in chunk]
        for group in alike.values()
        for chunk in np.array_split(group, -(-len(group) // AT_ONCE))
    ]


def train_together(
    experiments: Sequence[Experiment],
    roots: Roots,
    *,
    stop_after: int | None = None,
    resident: bool = False,
) -> None:
    """Trains runs to their ends, each from its last checkpoint, in one step.

    All go through their epochs side by side. One that is ahead, as after a cut between
    two checkpoints, waits for the others; one that has ended is left alone.

    Args:
      experiments: Checked configs; one of `groups`.
      roots: Where tables, features and runs lie.
      stop_after: Stop after so many steps of an uncut training (for tests).
      resident: Keep all frames on the devices, in place of sending each batch's.

    Raises:
      ValueError, BlockingIOError: as `train.train`; of several processes.
      FloatingPointError: when a run's loss is not finite, naming it. It stops; the
        others first go on to their ends.
    """
    if jax.process_count() > 1:
        raise ValueError("Several processes train one run, not several runs together.")
    compilation.enable_cache()
    open_corpus = functools.lru_cache(lambda key: _open(key, roots))
    with processes.finishing(), contextlib.ExitStack() as stack:
        members = []
        for c in experiments:
            corpus = dataclasses.replace(open_corpus(_corpus_key(c)), config=c.data)
            member = Member.of(c, corpus, roots.workdir(c), stack)
            if member.done < len(member.setup.source):
                members.append(member)
        count = stack.enter_context(compilation.counted())
        if resident and members:
            setups = [m.setup for m in members]
            rows = setups[0].source.batch_size
            layout = devices.Layout.of(rows, len(setups))
            for m, setup in zip(members, reside(setups, layout), strict=True):
                m.setup = setup
        _run(members, stop_after)
        logging.info("%d runs together: %s", len(experiments), count)
        for m in members:
            if m.done == len(m.setup.source) and not m.failure:
                chance.warn(m.setup.experiment, roots.workdir(m.setup.experiment))
    if failed := [m.failure for m in members if m.failure]:
        raise FloatingPointError(" ".join(failed))


def _corpus_key(c: Experiment) -> str:
    """What `open_corpus` looks at."""
    d = c.data
    return json.dumps([d.corpus, d.streams, d.length_buckets, c.augment.speed])


def _open(key: str, roots: Roots) -> Corpus:
    name, streams, buckets, speed = json.loads(key)
    data = Data(corpus=name, streams=streams, length_buckets=buckets)
    return open_corpus(roots, data, speed=speed)


@dataclasses.dataclass
class Member:
    """A run on its way."""

    setup: TrainingSetup
    saved: checkpoints.Checkpoints
    out: metrics_log.MetricWriter | None  # None of a run that had ended before.
    state: TrainState  # Of the last stretch's beginning or end.
    began: int  # Steps it had when it was loaded.
    done: int  # Steps it has now.
    failure: str = ""

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        corpus: Corpus,
        workdir: pathlib.Path,
        stack: contextlib.ExitStack,
    ) -> "Member":
        """Opens a run and loads its last checkpoint, if there is one."""
        setup = TrainingSetup.of(experiment, corpus)
        stack.enter_context(train.holding(workdir))
        finished = checkpoint_metrics.has_reached(workdir, len(setup.source))
        run_config.write(workdir, experiment, corpus, finished=finished)
        saved = checkpoints.Checkpoints(workdir, to_save=True)
        stack.enter_context(saved)
        state, latest = setup.fresh, saved.latest_step()
        if latest is not None:
            state = saved.load(latest, state)
        done = int(state.step)
        out = None
        if done < len(setup.source):
            out = stack.enter_context(metrics_log.MetricWriter(workdir, start=done))
        return cls(setup, saved, out, state, began=done, done=done)

    def logger(self, prefetched: PrefetchIterator, row: int) -> TrainingLogger:
        """Of a run with steps to go, the one of that row."""
        assert self.out is not None
        stop = len(self.setup.source)
        return TrainingLogger(self.setup, self.saved, self.out, prefetched, stop, row)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.setup.source.steps_per_epoch

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.setup.experiment.epochs

    def is_next(self, epoch: int, k: int) -> bool:
        """Whether step `k` of `epoch` is the next to do."""
        there = k < self.per_epoch and self.done == epoch * self.per_epoch + k
        return there and not self.failure

    def has_done(self, epoch: int) -> bool:
        """Whether it has just come to the end of `epoch`."""
        return self.began < self.done == (epoch + 1) * self.per_epoch


def _run(members: list[Member], stop_after: int | None) -> None:
    """Epoch by epoch; where members end, the rest goes on without them."""
    epoch = min((m.done // m.per_epoch for m in members), default=0)
    while going := [m for m in members if m.epochs > epoch and not m.failure]:
        last = min(m.epochs for m in going)
        if _stretch(going, epoch, last, stop_after):
            return
        epoch = last


def _stretch(
    members: list[Member], first: int, last: int, stop_after: int | None
) -> bool:
    """Trains from epoch `first` up to `last`. Whether it was stopped before."""
    step_config, states = _stack(members)
    hyperparameters = stacked(*[m.setup.hyperparameters for m in members])
    source = MemberBatches([m.setup.source for m in members])
    layout = devices.Layout.of(members[0].setup.source.batch_size, len(members))
    states, hyperparameters = layout.place((states, hyperparameters))
    step, per_epoch = together_step(step_config), source.steps_per_epoch
    ahead = batches.prefetch(source, layout, start=first * per_epoch)
    prefetched = PrefetchIterator(ahead)
    loggers = [m.logger(prefetched, row) for row, m in enumerate(members)]
    for tick, batch in enumerate(prefetched, first * per_epoch):
        epoch, k = divmod(tick, per_epoch)
        moves = np.array([m.is_next(epoch, k) for m in members])
        states, scalars = step(states, batch, hyperparameters, layout.place(moves))
        prefetched.started(scalars["loss"])
        for row in np.flatnonzero(moves):
            _note(members[row], loggers[row], scalars)
        asked = processes.asked()
        if k + 1 == per_epoch or asked:
            _end_of_epoch(members, loggers, states, epoch, step_config, asked)
        if asked:
            _save_within(members, loggers, states)
        if asked or stop_after == tick + 1:
            return True
        if tick + 1 == last * per_epoch or all(m.failure for m in members):
            break
    for row, m in enumerate(members):
        m.state = _state_of(m, states, row)
    return False


def _note(member: Member, logger: TrainingLogger, scalars: Metrics) -> None:
    """Counts a step of a member and writes of it; a bad loss ends the member."""
    member.done += 1
    if member.setup.step_config.neutral is None:
        scalars = {k: v for k, v in scalars.items() if k != "neutral_loss"}
    try:
        logger.step(member.done, scalars)
    except FloatingPointError as e:
        member.failure = str(e)


def _end_of_epoch(
    members: list[Member],
    loggers: list[TrainingLogger],
    states: TrainState,
    epoch: int,
    step_config: StepConfig,
    asked: bool,
) -> None:
    """Scores the members that have just done `epoch`, and saves those due, or all."""
    rows = [i for i, m in enumerate(members) if m.has_done(epoch) and not m.failure]
    for row, scores in _scores(members, rows, states, step_config).items():
        m = members[row]
        if loggers[row].epoch(m.done, scores) or asked:
            m.saved.save(_state_of(m, states, row), scores)


def _save_within(
    members: list[Member], loggers: list[TrainingLogger], states: TrainState
) -> None:
    """Saves the members that are within an epoch."""
    for row, m in enumerate(members):
        if m.began < m.done and m.done % m.per_epoch and not m.failure:
            try:
                unwritten = loggers[row].unwritten()
            except FloatingPointError as e:
                m.failure = str(e)
                continue
            m.saved.save(_state_of(m, states, row), {}, unwritten)


def _scores(
    members: list[Member], rows: list[int], states: TrainState, step_config: StepConfig
) -> dict[int, dict[str, float]]:
    """Dev scores of some members; those with the same dev data read it once.

    Members whose logits are not finite have none, and end.
    """
    scores: dict[int, dict[str, float]] = {row: {} for row in rows}
    alike: dict[str, list[int]] = {}
    for row in rows:
        c = members[row].setup.experiment
        if c.data.dev_split:
            key = f"{_corpus_key(c)} {c.data.dev_split}"
            alike.setdefault(key, []).append(row)
    predict_step = together_predict_step(step_config)
    for some in alike.values():
        variables = _rows(states.variables, np.array(some))
        setup = members[some[0]].setup
        dev = setup.dev
        assert dev is not None
        logits = logits_of(
            predict_step, variables, dev, setup.corpus, members=len(some)
        )
        for row, logits_NC in zip(some, logits, strict=True):
            m = members[row]
            try:
                scores[row] = m.setup.score(logits_NC, dev, m.done)
            except FloatingPointError as e:
                m.failure = str(e)
                del scores[row]
    return scores


@functools.lru_cache
def together_step(step_config: StepConfig) -> Callable[..., tuple[TrainState, Any]]:
    """`step(states, batch, hyperparameters, moves)`, jitted, all with a leading axis M.

    Where `moves` is False the state stays as it is.
    """

    def step(states, batch, hyperparameters, moves_M):
        new, scalars = jax.vmap(step_config.step)(states, batch, hyperparameters)
        here = lambda x: moves_M.reshape(-1, *[1] * (x.ndim - 1))
        choose = lambda x, old: jnp.where(here(x), x, old)
        return jax.tree.map(choose, new, states), scalars

    return jax.jit(step, donate_argnums=0)


@functools.lru_cache
def together_predict_step(step_config: StepConfig) -> Callable[..., jax.Array]:
    """From variables with a leading axis M and one batch to logits [M, B, C]."""
    alone = make_predict_step(step_config.model)
    return jax.jit(jax.vmap(alone, in_axes=(0, None)))


@jax.jit
def stacked(*trees):
    """States, or whatever belongs to members, with a leading axis M."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


@jax.jit
def _rows(tree, rows):
    return jax.tree.map(lambda x: x[rows], tree)


def _stack(members: list[Member]) -> tuple[StepConfig, TrainState]:
    """The members' step config and states; all get a neutral head if one has one.

    Where a member has none of its own, it starts at 0, and, its loss weighing 0, does
    nothing to the rest.
    """
    with_head = [m for m in members if m.setup.step_config.neutral is not None]
    if not with_head:
        return members[0].setup.step_config, stacked(*[m.state for m in members])
    head = jax.tree.map(jnp.zeros_like, with_head[0].state.params["neutral"])
    states = [
        m.state
        if m.setup.step_config.neutral is not None
        else _in_params(m.state, lambda params: params | {"neutral": head})
        for m in members
    ]
    return with_head[0].setup.step_config, stacked(*states)


def _state_of(member: Member, states: TrainState, row: int) -> TrainState:
    """A member's own state, as it would be alone."""
    state = _rows(states, row)
    if member.setup.step_config.neutral is not None:
        return state
    without = lambda params: {k: v for k, v in params.items() if k != "neutral"}
    return _in_params(state, without)


def _in_params(state: TrainState, change: Callable[[dict], dict]) -> TrainState:
    """Changes the parameters and whatever the optimiser keeps in their likeness."""
    is_params = lambda x: isinstance(x, dict) and "emotion" in x
    changed = lambda x: change(x) if is_params(x) else x
    return jax.tree.map(changed, state, is_leaf=is_params)
