"""Looks for the fields of a config that score best, trial by trial. docs/sweep.md.

Optuna proposes; trainings and predictions are those of `jser train`. Several processes
may work on one sweep: each trial has a folder, whose lock says whether it is alive.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
import pathlib
import shlex
import time
from typing import Any

from absl import logging
import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

import jser
from jser import files, locks, overrides, pipeline, spaces
from jser.config import Experiment
from jser.corpora import tables
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import Run, holding_out
from jser.roots import HELDOUT, Roots
from jser.statistics import metrics

SCHEMA = 1  # Of sweep.json.
_ABOUT = "about"  # Attribute of a study: what it is of.
_FIELDS, _FAILURE = "fields", "failure"  # Attributes of a trial.


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is looked for, and how a trial is scored."""

    base: Experiment  # With the folds under test held out.
    space: str  # As `--space` has it.
    trials: int
    roots: Roots
    inner: tuple[int, ...]  # Folds that trials are scored on; none: the dev split.
    fingerprint: str  # Of the table.

    @classmethod
    def of(
        cls,
        config: Experiment,
        space: str,
        trials: int,
        roots: Roots,
        holdout: Sequence[int] = (),
    ) -> "Sweep":
        """The sweep of a config.

        Args:
          config: A checked one.
          space: Fields and what they may be, or a file.
          trials: How many there are to be in all.
          roots: Where tables, features and runs lie.
          holdout: Folds that no trial may see; by default those of the config.

        Raises:
          ValueError: if the space cannot be read, or too few folds are left.
          FileNotFoundError: if there is no table.
        """
        holdout = tuple(holdout) or config.data.holdout
        base, inner = holding_out(config, holdout).check(), ()
        table = tables.read(roots.data / base.data.corpus)
        if not base.data.dev_split:
            rows = table.select(base.data.train_split)
            folds = {u.fold for u in rows if u.fold is not None}
            inner = tuple(sorted(folds - {*holdout}))
            odd, known = sorted({*holdout} - folds), ", ".join(map(str, sorted(folds)))
            if odd:
                raise ValueError(f"--holdout: {odd[0]}: {table.folder} has {known}.")
            if len(inner) < 2:
                raise ValueError(
                    f"--holdout: leaves {len(inner)} of the folds {known} of"
                    f" {table.folder}, and trials are scored over two or more."
                )
        spaces.proposal(space, base)
        return cls(base, space, trials, roots, inner, table.fingerprint)

    @property
    def folder(self) -> pathlib.Path:
        """Of the study and of all trials."""
        return self.roots.runs / self.base.name

    def workdir(self, number: int) -> pathlib.Path:
        """Of a trial."""
        return self.folder / f"trial{number:03d}"

    def runs(self, experiment: Experiment) -> list[Run]:
        """The trainings of a trial, and what each predicts."""
        if not self.inner:
            return [Run(experiment, (experiment.data.dev_split,))]
        outer = experiment.data.holdout
        return [
            Run(holding_out(experiment, tuple(sorted((*outer, k)))), (HELDOUT,))
            for k in self.inner
        ]

    def study(self) -> optuna.Study:
        """The study on disk, begun if need be.

        Raises:
          ValueError: if the one that is there is of another config, space or folds.
        """
        path = self.folder / "sweep.db"
        now = {
            "config": self.base.to_dict(),
            "space": spaces.source(self.space),
            "inner": list(self.inner),
            "table": self.fingerprint,
        }
        now = json.loads(json.dumps(now))  # As it is read back.
        with _turn(self.folder):
            study, then = self._opened(path)
            if then not in (None, now) and not self._is_begun(study):
                # One that was stopped before anything was trained binds nobody.
                path.unlink()
                study, then = self._opened(path)
            if then is None:
                study.set_user_attr(_ABOUT, now)
        if then not in (None, now):
            differ = ", ".join(k for k in now if then.get(k) != now[k])
            raise ValueError(
                f"{path}: this sweep was another one, by its {differ}. Give it another"
                f" --config.name, or remove {path} and {self.folder}/trial*."
            )
        return study

    def _is_begun(self, study: optuna.Study) -> bool:
        """Whether a trial has come to an end, or left something."""
        ended = any(t.state.is_finished() for t in study.get_trials(deepcopy=False))
        return ended or any(self.folder.glob("trial*/**/config.json"))

    def _opened(self, path: pathlib.Path) -> tuple[optuna.Study, Any]:
        """The study on disk, and what it is of; None of a new one."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=self.base.name,
            direction="maximize",
            load_if_exists=True,
        )
        return study, study.user_attrs.get(_ABOUT)


def run(sweep: Sweep, *, jobs: int = 1, arguments: Sequence[str] = ()) -> pathlib.Path:
    """Runs the trials that are missing; returns the folder of what was found.

    Args:
      sweep: What is looked for.
      jobs: Trials at a time, each on its share of the cores.
      arguments: That name config and folders, for the command of the best.

    Raises:
      ValueError: as `Sweep.study`; if a trial's fields do not go together; if no trial
        has a score.
    """
    table = tables.read(sweep.roots.data / sweep.base.data.corpus)
    pipeline.extract_missing([sweep.base], table, sweep.roots)
    study = sweep.study()
    done = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    tasks = [functools.partial(one_trial, sweep)] * max(0, sweep.trials - done)
    for told in pipeline.in_workers(jobs, tasks) if tasks else ():
        if told:
            logging.info("%s", told)
    write(sweep, study, arguments)
    return sweep.folder


def one_trial(sweep: Sweep) -> str:
    """Runs the next trial, or goes on with one whose process has died.

    Returns:
      What came of it; empty if there is nothing left to do.

    Raises:
      ValueError: if its fields do not go together.
    """
    study = sweep.study()
    with contextlib.ExitStack() as held:
        trial = _next(sweep, study, held)
        if trial is None:
            return ""
        fields = spaces.proposal(sweep.space, sweep.base)(trial)
        trial.set_user_attr(_FIELDS, fields)
        shown = f"trial {trial.number}: {', '.join(fields)}"
        try:
            score = _score(sweep, trial.number, _experiment(sweep, trial, fields))
        except FloatingPointError as e:
            trial.set_user_attr(_FAILURE, str(e))
            study.tell(trial, state=TrialState.FAIL)
            return f"{shown}: failed, {e}"
        study.tell(trial, score)
        return f"{shown}: macro-F1 {score:.3f}"


def _next(
    sweep: Sweep, study: optuna.Study, held: contextlib.ExitStack
) -> Trial | None:
    """A trial that is now this process's, its lock `held`."""
    with _turn(sweep.folder):
        every = study.get_trials(deepcopy=False)
        number = None
        for trial in every:
            if trial.state == TrialState.RUNNING:
                with contextlib.suppress(BlockingIOError):  # It is alive.
                    held.enter_context(_alive(sweep, trial.number))
                    number = trial.number
                    break
        else:
            if len(every) < sweep.trials:
                number = study.ask().number
                held.enter_context(_alive(sweep, number))
        if number is None:
            return None
    # What a trial proposes depends on seed and number, whichever process asks.
    seed = sweep.base.seed + number
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def _alive(sweep: Sweep, number: int) -> contextlib.AbstractContextManager[None]:
    """The lock of a trial, which its process holds to the end."""
    return locks.holding(sweep.workdir(number) / "trial", "let it come to its end")


@contextlib.contextmanager
def _turn(folder: pathlib.Path) -> Iterator[None]:
    """While entered, no other process asks for a trial of the sweep."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locks.holding(folder / "sweep", "wait"))
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


def _experiment(sweep: Sweep, trial: Trial, fields: Sequence[str]) -> Experiment:
    try:
        experiment = overrides.apply(sweep.base, fields)
        experiment.name = f"{sweep.base.name}_trial{trial.number:03d}"
        return experiment.check()
    except ValueError as e:
        raise ValueError(
            f"--space: trial {trial.number}: {e} A field that goes with some values of"
            " another alone needs a file with get_fields(trial); docs/sweep.md has one."
        ) from None


def _score(sweep: Sweep, number: int, experiment: Experiment) -> float:
    """Macro-F1 on the dev split, or over the inner folds."""
    from jser.training import predict, train

    parts = []
    outer = experiment.data.holdout
    for one in sweep.runs(experiment):
        workdir = sweep.workdir(number) / sweep.roots.folds(one.experiment)
        train.train(one.experiment, sweep.roots, workdir)
        for split in one.splits:
            logits = predict.predict(sweep.roots, workdir, split)
            inner = ~np.isin(logits.fold, outer)
            parts.append(logits.take(inner & (logits.label >= 0)))
    every = Logits.concatenate(parts)
    predicted, classes = every.logits.argmax(axis=1), len(every.labels)
    return metrics.scores(every.label, predicted, classes)["macro_f1"]


def write(sweep: Sweep, study: optuna.Study, arguments: Sequence[str]) -> None:
    """Writes sweep.json and sweep.md. docs/sweep.md gives their shape.

    Raises:
      ValueError: if no trial has a score.
    """
    trials = [_told(t) for t in study.get_trials(deepcopy=False)]
    trials.sort(key=lambda t: (-(t["score"] or 0.0), t["number"]))
    best = trials[0]
    holdout = sweep.base.data.holdout
    held = [f"data.holdout={','.join(map(str, holdout))}"] if holdout else []
    fields = [f"--config.{field}" for field in [*held, *best["fields"]]]
    results = {
        "schema": SCHEMA,
        "jser": jser.__version__,
        "name": sweep.base.name,
        "config": sweep.base.to_dict(),
        "table": sweep.fingerprint,
        "space": spaces.source(sweep.space),
        "inner": list(sweep.inner),
        "trials": trials,
        "command": shlex.join(["jser", "train", *arguments, *fields]),
        "notes": _notes(sweep),
    }
    files.write_json(sweep.folder / "sweep.json", results)
    files.write_atomically(sweep.folder / "sweep.md", _markdown(results))
    if best["score"] is None:
        raise ValueError(f"{sweep.folder / 'sweep.md'}: no trial has a score.")


def _told(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "score": trial.value,
        "fields": trial.user_attrs.get(_FIELDS, []),
        "failure": trial.user_attrs.get(_FAILURE, ""),
    }


def _notes(sweep: Sweep) -> list[str]:
    """What a reader must know about the scores."""
    data = sweep.base.data
    held = ", ".join(map(str, data.holdout))
    if not sweep.inner:
        return [
            f"Scored on {data.dev_split}, which also chose each run's epoch: the best"
            " score is flattered. Other splits were not looked at."
        ]
    if held:
        return [
            f"No trial saw or was scored on the folds {held}: what the best fields are"
            " worth, they tell."
        ]
    return [
        "All folds were scored on, and these scores chose: they are no test. With"
        " --holdout some folds are kept for that."
    ]


def _markdown(results: Mapping[str, Any]) -> str:
    folds = ", ".join(map(str, results["inner"]))
    data = results["config"]["data"]
    where = (
        f"out of fold over the folds {folds}" if folds else f"on {data['dev_split']}"
    )
    lines = [
        f"# Trials of {results['name']}",
        "",
        f"{data['corpus']}, macro-F1 {where}.",
        "",
        "| trial | macro-F1 | fields |",
        "|---|---|---|",
    ]
    for t in results["trials"]:
        score = t["state"] if t["score"] is None else f"{t['score']:.3f}"
        fields = "<br>".join(f"`{field}`" for field in t["fields"])
        lines.append(f"| {t['number']} | {score} | {fields} |")
    lines += ["", *(f"- {note}" for note in results["notes"])]
    failed = [t for t in results["trials"] if t["failure"]]
    lines += [f"- Trial {t['number']} failed: {t['failure']}" for t in failed]
    return "\n".join([*lines, "", "```", results["command"], "```", ""])
