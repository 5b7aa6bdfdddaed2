"""Subjects of a report: what is scored, and what a reader must know of it."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
import shlex
from typing import Any

from absl import logging
import numpy as np

from jser.config import Ensemble, Experiment
from jser.config_rules import NONE, SPEAKER, TARGET
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.data import adaptation
from jser.ensemble import (
    checkpoint_metrics,
    combined_logits,
    provenance,
    run_config,
)
from jser.ensemble.logits import Logits, splits_of
from jser.ensemble.member_logits import MemberLogits
from jser.ensemble.out_of_fold import (
    folds,
    holding_out,
    is_cross_validated,
    plan,
)
from jser.features import store
from jser.features.frontends import FRONT_ENDS
from jser.report import extracting, priors, results
from jser.roots import Roots
from jser.training import chance, metrics_log

UNIFORM = "uniform_prior"  # Folder of logits under a uniform prior.
SYNTHETIC = (
    "The speech is synthetic, made by a small program with known rules. These numbers"
    " show that the stages work; they say nothing about real emotion."
)


def of_run(
    workdir: pathlib.Path, roots: Roots, adapt: str | None = None
) -> results.Inputs:
    """A run by itself, on the splits of its own table that it was asked about.

    Args:
      workdir: Of the run.
      roots: Where tables, features and runs lie.
      adapt: "target" scores what it predicts by the target's statistics, beside what it
        predicts without. None: as it was trained.

    Raises:
      FileNotFoundError: if there is no run, or it was asked about no split.
      ValueError: if table, run and logits are not those of each other.
    """
    experiment, _ = run_config.read(workdir)
    table = tables.read(roots.data / experiment.data.corpus)
    provenance.refuse_other_table(workdir, table, roots)
    known = notes((experiment,), roots, table)
    by_adapt: dict[str, dict[str, Logits]] = {}
    commands = []
    for how in adaptation.shown(experiment, adapt):
        logits = {
            s: provenance.of_run(workdir, experiment, s, table, roots, how)
            for s in splits_of(workdir, adapt=how)
        }
        seen = {s for s, x in logits.items() if x.in_sample.any()}
        known += [
            f"{s} is not scored: the run was trained on it." for s in sorted(seen)
        ]
        commands += [
            command_of("predict", workdir, roots, adapt=how, split=s) for s in logits
        ]
        by_adapt[how] = {s: x for s, x in logits.items() if s not in seen}
    *_, meant = by_adapt
    commands.append(command_of("evaluate", workdir, roots, adapt=meant))
    return of_predictions(workdir, roots, table, by_adapt, commands, known)


def command_of(verb: str, workdir: pathlib.Path, roots: Roots, **given: str) -> str:
    """The command line of a verb about a run, with flags that are not of a default."""
    typed = run_config.read(workdir)[1].get("arguments") or []
    if verb == "predict" and "--weights" in typed:
        given["weights"] = typed[typed.index("--weights") + 1]
    flags = [x for k, v in given.items() if v and v != NONE for x in (f"--{k}", v)]
    return shlex.join(
        ["jser", verb, "--workdir", str(workdir), *roots.arguments(), *flags]
    )


def of_predictions(
    workdir: pathlib.Path,
    roots: Roots,
    table: Table,
    by_adapt: Mapping[str, Mapping[str, Logits]],
    commands: Sequence[str],
    known: Sequence[str],
) -> results.Inputs:
    """A run by what it predicted.

    Args:
      workdir: Of the run.
      roots: Where tables, features and runs lie.
      table: Of the run.
      by_adapt: What can be scored, by split, of each adaptation; the primary system's
        is the last, and the others are shown on its splits.
      commands: That predict and score, from the run on.
      known: What a reader must know.

    Raises:
      FileNotFoundError: if the primary system can be scored nowhere.
    """
    experiment, metadata = run_config.read(workdir)
    name, adapt = workdir.resolve().name, list(by_adapt)[-1]
    if not by_adapt[adapt]:
        predict = command_of("predict", workdir, roots, adapt=adapt, split="test")
        raise FileNotFoundError(
            f"{workdir}/logits: no split that it was not trained on; {predict} makes"
            " one."
        )
    systems = {
        adaptation.system_name(name, how): {
            s: x for s, x in by_split.items() if s in by_adapt[adapt]
        }
        for how, by_split in by_adapt.items()
    }
    told = [adaptation.NOTES[TARGET].format(name)] if adapt == TARGET else []
    curves, missing = _curves({name: workdir})
    # Runs of earlier versions do not know what they were given.
    given = metadata.get("arguments") or ["--config", experiment.name]
    train = ["jser", "train", *given, "--workdir", str(workdir), *roots.arguments()]
    return results.Inputs(
        name=name,
        table=table,
        systems={system: x for system, x in systems.items() if x},
        members=(list(systems)[-1],),
        curves=curves,
        commands=[
            *([table.command] if table.command else []),
            *extracting.of_run(table, experiment, metadata, roots),
            shlex.join(train),
            *commands,
        ],
        failures=failures((experiment,), roots),
        notes=[
            *dict.fromkeys([*told, *known]),
            *_at_chance([(name, experiment, workdir)]),
            *missing,
        ],
    )


def _making(
    table: Table, ensemble: Ensemble, roots: Roots, arguments: Sequence[str]
) -> list[str]:
    """`jser run`, if it was what ran, and before it what it does not extract itself."""
    if not arguments:
        return []
    corpus = ensemble.members[0].data.corpus
    names = [f for f in front_ends(ensemble.members) if f not in FRONT_ENDS]
    specs = {f: store.spec_of(roots.features, corpus, f) for f in names}
    run = shlex.join(["jser", "run", *arguments])
    return [*extracting.commands(table, specs, roots), run]


def of_ensemble(
    ensemble: Ensemble, roots: Roots, arguments: Sequence[str] = ()
) -> results.Inputs:
    """An ensemble: members and combinations on their splits.

    Args:
      ensemble: A checked config.
      roots: Where tables, features and runs lie.
      arguments: What `jser run` was given; an ensemble that no command line made has
        none, and nothing is said of how to make it again.

    Raises:
      FileNotFoundError: if a member has not predicted yet, or nothing is combined.
      ValueError: if table, runs, logits and stacker are not those of each other.
    """
    table = tables.read(roots.data / ensemble.members[0].data.corpus)
    folder = roots.runs / ensemble.name
    member_logits = MemberLogits(ensemble, roots, table)
    members = member_logits.by_split()
    combined = combined_logits.read(member_logits, members)
    curves, missing = _curves(_shown(ensemble, roots, table))
    known = notes(ensemble.members, roots, table)
    runs = [run.experiment for run in plan(ensemble, table)]
    known += _at_chance([(c.name, c, roots.workdir(c)) for c in runs])
    if ensemble.stacker == "paper":
        known.append(
            "The stacker learned, as published, from its members' logits of their own"
            " training utterances."
        )
    return results.Inputs(
        name=ensemble.name,
        table=table,
        systems={**members, **combined},
        members=list(members),
        curves=curves,
        commands=[
            *([table.command] if table.command else []),
            *_making(table, ensemble, roots, arguments),
        ],
        seeds=seeds_of(ensemble.members),
        stacker=_stacker(ensemble, folder),
        failures=failures(ensemble.members, roots),
        notes=known + missing,
    )


def _shown(ensemble: Ensemble, roots: Roots, table: Table) -> dict[str, pathlib.Path]:
    """The run of each member whose curves are shown: in cross-validation the first."""
    crossed = is_cross_validated(ensemble)
    holdout = tuple(folds(ensemble, table)[:1]) if crossed else ()
    return {m.name: roots.workdir(holding_out(m, holdout)) for m in ensemble.members}


def _curves(
    workdirs: Mapping[str, pathlib.Path],
) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Lines of metrics.jsonl by name, and notes on those that are not of their run."""
    curves, missing = {}, []
    for name, workdir in workdirs.items():
        curves[name] = _lines(workdir)
        if not curves[name]:
            missing.append(
                f"The curves of {name} are left out: {workdir / 'metrics.jsonl'} is"
                " missing, or is not whole, or is another run's."
            )
    return curves, missing


def _lines(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Lines of metrics.jsonl; none if they are damaged or another run's."""
    saved = checkpoint_metrics.read(workdir)
    try:
        lines = metrics_log.read(workdir / "metrics.jsonl")
    except ValueError as e:
        logging.warning("%s", e)
        return []
    return lines if all(_tells_of(m, lines) for m in saved) else []


def _at_chance(runs: Sequence[tuple[str, Experiment, pathlib.Path]]) -> list[str]:
    """Notes on runs that have learned nothing, one a member and fault.

    Args:
      runs: Each with the name of its member and its folder.
    """
    found: dict[tuple[str, str, str], list[tuple[int, ...]]] = {}
    for name, c, workdir in runs:
        best = checkpoint_metrics.best(workdir)
        for fault in chance.faults(c, _lines(workdir), best):
            key = name, fault, chance.advice(c)
            found.setdefault(key, []).append(c.data.holdout)
    return [
        f"{name}{_without(holdouts)}: {fault}. {advice}"
        for (name, fault, advice), holdouts in found.items()
    ]


def _without(holdouts: Sequence[tuple[int, ...]]) -> str:
    """Which runs of a member, by the folds that they were trained without."""
    named = [f"without {chance.without(h)}" if h else "on all folds" for h in holdouts]
    return f" {', '.join(named)}" if any(holdouts) else ""


def _tells_of(metrics: Mapping[str, Any], lines: list[dict[str, float]]) -> bool:
    """Whether a line has a checkpoint's step and dev scores."""
    scores = checkpoint_metrics.scores(metrics)
    wanted = {"step": metrics["step"]} | {f"dev/{k}": v for k, v in scores.items()}
    return any(wanted.items() <= line.items() for line in lines)


def _stacker(ensemble: Ensemble, folder: pathlib.Path) -> dict[str, Any] | None:
    """What stack.json says, and the feature importance of members and classes."""
    record = combined_logits.read_stack(ensemble, folder)
    if not record:
        return None
    by_fold = [about["importance"] for about in record["folds"].values()]
    importance = np.mean(by_fold, axis=0).tolist() if None not in by_fold else None
    # The digest is of a zip file, which holds the hour it was written.
    about = {k: v for k, v in record.items() if k not in ("sha256", "schema")}
    about["folds"] = {
        k: {name: x for name, x in fold.items() if name != "estimators"}
        for k, fold in record["folds"].items()
    }
    return {**about, "importance": importance}


def with_uniform(inputs: results.Inputs, folder: pathlib.Path) -> results.Inputs:
    """Adds the primary system under a uniform class prior, as a system of its own.

    Its logits, also on splits whose labels are held back, are written to
    `<folder>/logits/uniform_prior/`.

    Raises:
      ValueError: if there is nothing to fit the prior on but what it is applied to.
    """
    *_, (primary, by_split) = inputs.systems.items()
    adjusted = priors.corrected(by_split)
    if not adjusted:
        raise ValueError(
            f"--target_prior: {inputs.name} has neither folds nor a dev split beside a"
            " test split, and a prior is not fitted on the split it is applied to."
        )
    for split, logits in adjusted.items():
        made = dataclasses.replace(logits, system=UNIFORM)
        made.save(folder / "logits" / UNIFORM / f"{split}.npz")
    others = {s: x for s, x in inputs.systems.items() if s != primary}
    systems = {**others, f"{primary}, uniform prior": adjusted, primary: by_split}
    return dataclasses.replace(inputs, systems=systems)


def seeds_of(members: Sequence[Experiment]) -> dict[str, list[str]]:
    """The names of members that differ in nothing but their seed, by what they share.

    A config with one seed alone is not among them.
    """
    alike: dict[str, list[Experiment]] = {}
    for member in members:
        value = member.to_dict()
        del value["name"], value["seed"]
        alike.setdefault(json.dumps(value, sort_keys=True), []).append(member)
    return {
        group[0].name.removesuffix(f"_seed{group[0].seed}"): [m.name for m in group]
        for group in alike.values()
        if len(group) > 1
    }


def failures(
    members: Sequence[Experiment], roots: Roots, corpus: str = ""
) -> dict[str, str]:
    """Front end and reason by utterance, of those that could not be encoded.

    Args:
      members: All of one table.
      roots: Where features lie.
      corpus: The name of another table than theirs.
    """
    by_utterance: dict[str, str] = {}
    for front_end in front_ends(members):
        name = corpus or members[0].data.corpus
        folder = store.dataset_folder(roots.features, name, front_end)
        for utt_id, reason in store.read_manifest(folder)["failures"].items():
            by_utterance.setdefault(utt_id, f"{front_end}: {reason}")
    return by_utterance


def front_ends(members: Sequence[Experiment]) -> list[str]:
    """The front ends that members read, in the order they come up."""
    return list(dict.fromkeys(f for m in members for f in m.data.streams.values()))


def notes(members: Sequence[Experiment], roots: Roots, table: Table) -> list[str]:
    """What a reader must know about the numbers."""
    adapted = [m.name for m in members if m.data.adapt == SPEAKER]
    known = [adaptation.NOTES[SPEAKER].format(", ".join(adapted))] if adapted else []
    if table.source == "demo":
        known.append(SYNTHETIC)
    if table.shares_speakers:
        known.append("Speakers are shared between splits, so the scores are flattered.")
    if members[0].data.train_split == tables.CROSS_VALIDATED:
        known.append(
            "Cross-validated: every utterance is scored by models that were trained"
            " without its fold; nothing was chosen on it. The curves are of the first"
            " fold's models."
        )
    elif members[0].data.dev_split:
        known.append(
            f"Each member's epoch was chosen on {members[0].data.dev_split}, which"
            " flatters the scores there."
        )
    return known + left_out(failures(members, roots))


def left_out(failed: Mapping[str, str]) -> list[str]:
    """A note on the utterances that could not be encoded, if there are any."""
    if not failed:
        return []
    return [
        f"{len(failed)} utterances are left out everywhere, because a front end"
        " could not encode them; they are listed below."
    ]
