"""The whole road of an ensemble: extract, train, predict, stack, report.

Every stage leaves what it made on disk, and does nothing where that is done already.
"""

from collections.abc import Mapping, Sequence
import concurrent.futures
import csv
import dataclasses
import io
import itertools
import multiprocessing
import os
import pathlib
import shlex
import signal
from typing import Any

from absl import logging
import numpy as np
from scipy import special

from jser import files
from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble import stacker_store, stacking
from jser.ensemble.logits import Logits
from jser.features import frontends
from jser.features.extract import extract
from jser.report import page, results, subjects
from jser.roots import HELDOUT, Roots
from jser.training import metrics_log


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and the splits it is to speak of."""

    experiment: Experiment  # With its folds held out.
    splits: tuple[str, ...]


def run(
    ensemble: Ensemble,
    roots: Roots,
    *,
    jobs: int = 1,
    at_once: bool = False,
    arguments: Sequence[str] = (),
) -> pathlib.Path:
    """Does all that is not yet done; returns the path of the report.

    Args:
      ensemble: A checked config.
      roots: Where tables, features and runs lie.
      jobs: Trainings at a time, each on its share of the cores.
      at_once: Train runs of like shapes in one step (`together`).
      arguments: What `jser run` was given, for the report to repeat.
    """
    table = _table(ensemble, roots)
    for front_end in subjects.front_ends(ensemble.members):
        if front_end in frontends.FRONT_ENDS:  # Others must be told their weights.
            extract(table, front_end, roots.features)
    train_all(plan(ensemble, table), roots, jobs, at_once=at_once)
    combine(ensemble, roots)
    return write_report(ensemble, roots, arguments)


def plan(ensemble: Ensemble, table: Table) -> list[Run]:
    """The trainings an ensemble needs.

    With train, dev and test: each member once on all of train, and, for a stacker that
    learns from out-of-fold logits, once for each fold of train, which it leaves out. In
    cross-validation: each member once without each fold, and, for such a stacker, once
    without each pair of folds; one pair serves the stackers of both its folds.

    The stacker "paper" trains nothing more; members speak of their training rows too.

    Raises:
      ValueError: if the table has too few folds.
    """
    train = ensemble.members[0].data.train_split
    folds = _folds(ensemble, table)
    stacked = ensemble.stacker not in ("average", "paper")
    holdouts: list[tuple[int, ...]] = []
    if train == tables.CROSS_VALIDATED:
        holdouts += [(k,) for k in folds]
        holdouts += itertools.combinations(folds, 2) if stacked else []
    else:
        holdouts += [()]
        holdouts += [(k,) for k in folds] if stacked else []
    needed = 3 if stacked else 2 if train == tables.CROSS_VALIDATED else 0
    if len(folds) < needed:
        raise ValueError(
            f"{table.folder}: {len(folds)} folds, and {ensemble.name} needs {needed}"
            " to hold some out. Make more with scripts/prepare.py --folds."
        )
    others = tuple(sorted({u.split for u in table.utterances} - {train}))
    own = (train,) if ensemble.stacker == "paper" else ()
    return [
        Run(_holding_out(member, h), ((HELDOUT,) if h else others) + own)
        for h in holdouts
        for member in ensemble.members
    ]


def train_all(
    runs: list[Run], roots: Roots, jobs: int, *, at_once: bool = False
) -> None:
    """Trains and predicts each run, `jobs` runs or, `at_once`, groups at a time."""
    groups = [[r] for r in runs]
    if at_once:
        from jser.training import together

        found = together.groups([r.experiment for r in runs], roots)
        groups = [[runs[i] for i in group] for group in found]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        free_cores = manager.Queue()
        cores = sorted(os.sched_getaffinity(0)) if _CAN_PIN else []
        for i in range(jobs):
            free_cores.put(cores[i::jobs])
        pool = concurrent.futures.ProcessPoolExecutor(
            jobs, context, initializer=_start_worker, initargs=(free_cores,)
        )
        with pool:
            futures = [pool.submit(_train_group, g, roots) for g in groups]
            count = 0
            for future in concurrent.futures.as_completed(futures):
                for workdir in future.result():
                    count += 1
                    logging.info("trained %d of %d: %s", count, len(runs), workdir)


_CAN_PIN = hasattr(os, "sched_setaffinity")  # Linux.


def _start_worker(free_cores) -> None:
    """Gives a process its cores: XLA takes as many threads as it may have cores.

    Ctrl-C ends it at once: only the main process has something to say then.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    cores = free_cores.get()
    if cores:
        os.sched_setaffinity(0, cores)
    from jser import console

    console.quiet()
    logging.set_verbosity(logging.WARNING)


def _train_group(group: list[Run], roots: Roots) -> list[str]:
    from jser.training import predict, together, train

    if len(group) == 1:
        train.train(group[0].experiment, roots)
    else:
        together.train_together([r.experiment for r in group], roots)
    for r in group:
        for split in r.splits:
            predict.predict(roots, roots.workdir(r.experiment), split)
    return [str(roots.workdir(r.experiment)) for r in group]


def combine(ensemble: Ensemble, roots: Roots) -> None:
    """Combines the members' logits and writes the ensemble's predictions.

    Raises:
      FileNotFoundError: if a member has not spoken yet.
    """
    table, folder = _table(ensemble, roots), roots.runs / ensemble.name
    members = member_logits(ensemble, roots, table)
    splits = list(next(iter(members.values())))
    said = {
        "average": {
            split: stacking.average(
                stacking.join({m: x[split] for m, x in members.items()})
            )
            for split in splits
        }
    }
    if ensemble.stacker != "average":
        said[ensemble.stacker], fitted = _stack(ensemble, roots, table, members)
        stacker_store.save(folder, fitted)
    for system, by_split in said.items():
        for split, found in by_split.items():
            found.save(folder / "logits" / system / f"{split}.npz")
    for split, found in said[ensemble.stacker].items():
        _write_predictions(found, folder / "predictions" / f"{split}.csv")


def member_logits(
    ensemble: Ensemble, roots: Roots, table: Table
) -> dict[str, dict[str, Logits]]:
    """What each member says of the splits it may be judged on, by member and split."""
    train = ensemble.members[0].data.train_split
    if train == tables.CROSS_VALIDATED:
        outer = _outer(ensemble, roots, table)
        return {
            m: {train: Logits.concatenate(list(x.values()))} for m, x in outer.items()
        }
    splits = sorted({u.split for u in table.utterances} - {train})
    return {
        m.name: {s: _read(m, (), roots, s) for s in splits} for m in ensemble.members
    }


def write_report(
    ensemble: Ensemble, roots: Roots, arguments: Sequence[str] = ()
) -> pathlib.Path:
    """Scores members and ensemble and writes the report; returns its path."""
    folder = roots.runs / ensemble.name
    page.write(to_evaluate(ensemble, roots, arguments), folder)
    return folder / "report.html"


def to_evaluate(
    ensemble: Ensemble, roots: Roots, arguments: Sequence[str] = ()
) -> results.Inputs:
    """What there is to score: members and combinations on their splits.

    Raises:
      FileNotFoundError: if a member has not spoken yet, or nothing is combined.
    """
    table, folder = _table(ensemble, roots), roots.runs / ensemble.name
    members = member_logits(ensemble, roots, table)
    systems: dict[str, dict[str, Logits]] = dict(members)
    for kind in dict.fromkeys(("average", ensemble.stacker)):
        systems[kind] = {
            split: Logits.load(folder / "logits" / kind / f"{split}.npz")
            for split in next(iter(members.values()))
        }
    cross_validated = ensemble.members[0].data.train_split == tables.CROSS_VALIDATED
    first = _folds(ensemble, table)[:1] if cross_validated else []
    curves = {
        m.name: metrics_log.read(
            roots.workdir(_holding_out(m, tuple(first))) / "metrics.jsonl"
        )
        for m in ensemble.members
    }
    notes = subjects.notes(ensemble.members, roots, table)
    if ensemble.stacker == "paper":
        notes.append(
            "The stacker learned, as published, from what its members say of their own"
            " training utterances."
        )
    return results.Inputs(
        name=ensemble.name,
        table=table,
        systems=systems,
        members=list(members),
        curves=curves,
        commands=_commands(table, arguments),
        seeds=subjects.seeds_of(ensemble.members),
        stacker=_stacker(ensemble, folder),
        failures=subjects.failures(ensemble.members, roots),
        notes=notes,
    )


def _stacker(ensemble: Ensemble, folder: pathlib.Path) -> dict[str, Any] | None:
    """What stack.json says, and how much the stackers lean on members and classes."""
    if ensemble.stacker == "average":
        return None
    record = files.read_json(folder / "stack.json")
    if record.get("stacker") != ensemble.stacker:
        raise ValueError(
            f"{folder}/stack.json: of another stacker than {ensemble.stacker!r}, which"
            " the config names. Run scripts/stack.py."
        )
    leans = [about["importance"] for about in record["folds"].values()]
    importance = np.mean(leans, axis=0).tolist() if None not in leans else None
    del record["sha256"]  # Of a zip file, which holds the hour it was written.
    return {**record, "importance": importance}


def _stack(
    ensemble: Ensemble,
    roots: Roots,
    table: Table,
    members: Mapping[str, Mapping[str, Logits]],
) -> tuple[dict[str, Logits], dict[int, stacking.Stacker]]:
    """What the stacker says by split, and the stackers by fold."""
    kind, seed = ensemble.stacker, ensemble.seed
    if ensemble.members[0].data.train_split == tables.CROSS_VALIDATED:
        spoken = _outer(ensemble, roots, table)
        outer = {
            k: stacking.join({m: x[k] for m, x in spoken.items()})
            for k in _folds(ensemble, table)
        }
        known = _known_in_cross_validation(ensemble, roots, table)
        said, fitted = stacking.cross_validate(kind, outer, known, seed)
        return {tables.CROSS_VALIDATED: said}, fitted
    fitted = stacking.fit(kind, _known(ensemble, roots, table), seed)
    said = {
        split: stacking.apply(
            fitted, stacking.join({m: x[split] for m, x in members.items()})
        )
        for split in next(iter(members.values()))
    }
    return said, {-1: fitted}


def _known(ensemble: Ensemble, roots: Roots, table: Table) -> stacking.Joined:
    """What the stacker learns from: the train split, as "paper" in sample."""
    train, folds = ensemble.members[0].data.train_split, _folds(ensemble, table)
    if ensemble.stacker == "paper":
        return stacking.join(
            {m.name: _read(m, (), roots, train) for m in ensemble.members}
        )
    return stacking.join(
        {
            m.name: Logits.concatenate([_read(m, (k,), roots) for k in folds])
            for m in ensemble.members
        }
    )


def _known_in_cross_validation(
    ensemble: Ensemble, roots: Roots, table: Table
) -> dict[int, stacking.Joined]:
    """By fold, what its stacker learns from: all other folds, as "paper" in sample."""
    folds, known = _folds(ensemble, table), {}
    if ensemble.stacker == "paper":
        for k in folds:
            said = {
                m.name: _read(m, (k,), roots, tables.CROSS_VALIDATED)
                for m in ensemble.members
            }
            known[k] = stacking.join({m: x.take(x.fold != k) for m, x in said.items()})
        return known
    inner = {
        m.name: {p: _read(m, p, roots) for p in itertools.combinations(folds, 2)}
        for m in ensemble.members
    }
    return {k: stacking.known_without(k, inner) for k in folds}


def _outer(
    ensemble: Ensemble, roots: Roots, table: Table
) -> dict[str, dict[int, Logits]]:
    """By member and fold, what it says of the fold it was trained without."""
    folds = _folds(ensemble, table)
    return {m.name: {k: _read(m, (k,), roots) for k in folds} for m in ensemble.members}


def _read(
    member: Experiment, holdout: tuple[int, ...], roots: Roots, split: str = HELDOUT
) -> Logits:
    workdir = roots.workdir(_holding_out(member, holdout))
    return Logits.load(workdir / "logits" / f"{split}.npz")


def _holding_out(member: Experiment, holdout: tuple[int, ...]) -> Experiment:
    return dataclasses.replace(
        member, data=dataclasses.replace(member.data, holdout=holdout)
    )


def _table(ensemble: Ensemble, roots: Roots) -> Table:
    return tables.read(roots.data / ensemble.members[0].data.corpus)


def _folds(ensemble: Ensemble, table: Table) -> list[int]:
    rows = table.select(ensemble.members[0].data.train_split)
    return sorted({u.fold for u in rows if u.fold is not None})


def _commands(table: Table, arguments: Sequence[str]) -> list[str]:
    """Those that are known: an ensemble that no command line made has none."""
    run_again = [shlex.join(["jser", "run", *arguments])] if arguments else []
    return [table.command, *run_again] if table.command else run_again


def _write_predictions(found: Logits, path: pathlib.Path) -> None:
    """`utt_id,label,predicted,p_<emotion>...`; the label is empty where held back."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = [str(name) for name in found.labels]
    table.writerow(["utt_id", "label", "predicted", *(f"p_{n}" for n in names)])
    for utt_id, label, log_p in zip(
        found.utt_id,
        found.label,
        special.log_softmax(found.logits, axis=1),
        strict=True,
    ):
        true = names[label] if label >= 0 else ""
        p = [f"{x:.4f}" for x in np.exp(log_p)]
        table.writerow([utt_id, true, names[int(log_p.argmax())], *p])
    files.write_atomically(path, out.getvalue())
