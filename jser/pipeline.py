"""The whole road of an ensemble: extract, train, predict, stack, report.

Every stage leaves what it made on disk, and does nothing where that is done already.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import pathlib
from typing import TypeVar

from absl import logging

from jser import locks, processes
from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble import checkpoint_metrics
from jser.ensemble.combine import combine
from jser.ensemble.out_of_fold import Run, plan
from jser.features import frontends
from jser.features.extract import extract
from jser.report import page, subjects
from jser.roots import Roots

T = TypeVar("T")


def run(
    ensemble: Ensemble,
    roots: Roots,
    *,
    jobs: int = 1,
    at_once: bool = False,
    resident: bool = False,
    arguments: Sequence[str] = (),
) -> pathlib.Path:
    """Does all that is not yet done; returns the path of the report.

    Args:
      ensemble: A checked config.
      roots: Where tables, features and runs lie.
      jobs: Trainings at a time, each on its share of the cores.
      at_once: Train runs of like shapes in one step (`together`).
      resident: Keep the frames that a training reads on the devices.
      arguments: What `jser run` was given, for the report to repeat.

    Raises:
      BlockingIOError: if another run of the ensemble, or training of a member, is at
        work.
    """
    with holding(ensemble, roots):
        table = tables.read(roots.data / ensemble.members[0].data.corpus)
        extract_missing(ensemble.members, table, roots)
        runs = plan(ensemble, table)
        train_all(runs, roots, jobs, at_once=at_once, resident=resident)
        combine(ensemble, roots)
        logging.info("%s: scoring, and drawing the report", ensemble.name)
        folder = roots.runs / ensemble.name
        page.write(subjects.of_ensemble(ensemble, roots, arguments), folder)
        return folder / "report.html"


def extract_missing(members: Sequence[Experiment], table: Table, roots: Roots) -> None:
    """Extracts what members read, of the front ends that need no weights."""
    for front_end in subjects.front_ends(members):
        if front_end in frontends.FRONT_ENDS:  # Others must be told their weights.
            extract(table, front_end, roots.features)


def stack(ensemble: Ensemble, roots: Roots) -> None:
    """Combines the members' logits, as `combine`, alone in the ensemble's folder.

    Raises:
      BlockingIOError: if another run is at work there.
    """
    with holding(ensemble, roots):
        combine(ensemble, roots)


def holding(
    ensemble: Ensemble, roots: Roots
) -> contextlib.AbstractContextManager[None]:
    """The lock of an ensemble's folder."""
    return locks.holding(roots.runs / ensemble.name, "give another --config.name")


def train_all(
    runs: list[Run],
    roots: Roots,
    jobs: int,
    *,
    at_once: bool = False,
    resident: bool = False,
) -> None:
    """Trains and predicts each run, `jobs` runs or, `at_once`, groups at a time."""
    # One that starts with another's network waits for all of those.
    _refuse_circles({r.experiment.name: r.experiment.init_from for r in runs})
    while runs:
        names = {r.experiment.name for r in runs}
        ready = [r for r in runs if r.experiment.init_from not in names]
        _train_wave(ready, roots, jobs, at_once=at_once, resident=resident)
        runs = [r for r in runs if r.experiment.init_from in names]


def _refuse_circles(source: Mapping[str, str]) -> None:
    """Raises ValueError if runs, by name, begin with each other in a circle."""
    for name in source:
        chain = [name]
        while (before := source.get(chain[-1], "")) in source:
            chain.append(before)
            if chain.count(before) > 1:
                told = ", which begins with ".join(map(repr, chain[1:]))
                raise ValueError(f"init_from: {name!r} begins with {told}.")


def _train_wave(
    runs: list[Run], roots: Roots, jobs: int, *, at_once: bool, resident: bool
) -> None:
    """Trains and predicts runs of which none waits for another."""
    groups = [[r] for r in runs]
    if at_once:
        from jser.training import together

        alike = together.groups([r.experiment for r in runs], roots)
        groups = [[runs[i] for i in group] for group in alike]
    tasks = [functools.partial(_train_group, g, roots, resident) for g in groups]
    count = 0
    for done in in_workers(jobs, tasks):
        for workdir, trained in done:
            count += 1
            what = "trained" if trained else "trained before"
            logging.info("%d of %d %s: %s", count, len(runs), what, workdir)


def in_workers(jobs: int, tasks: Sequence[Callable[[], T]]) -> Iterator[T]:
    """What tasks return, as they end: `jobs` at a time, each on its share of the cores.

    Tasks run in processes of their own, and are sent there by pickle.
    """
    context = multiprocessing.get_context("spawn")
    free_cores = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if _CAN_PIN else []
    for i in range(jobs):
        free_cores.put(cores[i::jobs])
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, context, initializer=_start_worker, initargs=(free_cores,)
    )
    try:
        with pool:
            futures = [pool.submit(task) for task in tasks]
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
    finally:  # An error holds this frame, and a process that ends warns of semaphores.
        del pool, free_cores


_CAN_PIN = hasattr(os, "sched_setaffinity")  # Linux.


def _start_worker(free_cores) -> None:
    """Gives a process its cores: XLA takes as many threads as it may have cores."""
    processes.start_worker()
    cores = free_cores.get()
    if cores:
        os.sched_setaffinity(0, cores)
    from jser import console

    console.quiet()
    logging.set_verbosity(logging.WARNING)


def _train_group(
    group: list[Run], roots: Roots, resident: bool
) -> list[tuple[str, bool]]:
    """The runs' folders, and whether each had something left to train."""
    from jser.training import predict, together, train

    workdirs = [roots.workdir(r.experiment) for r in group]
    before = [_latest_step(w) for w in workdirs]
    if len(group) == 1:
        train.train(group[0].experiment, roots, resident=resident)
    else:
        experiments = [r.experiment for r in group]
        together.train_together(experiments, roots, resident=resident)
    for r in group:
        for split in r.splits:
            predict.predict(roots, roots.workdir(r.experiment), split)
    return [
        (str(w), _latest_step(w) != b) for w, b in zip(workdirs, before, strict=True)
    ]


def _latest_step(workdir: pathlib.Path) -> int:
    """The step of a run's newest checkpoint; 0 where there is none."""
    if not (workdir / "config.json").exists():
        return 0
    return max((m["step"] for m in checkpoint_metrics.read(workdir)), default=0)
