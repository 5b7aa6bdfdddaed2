"""Subjects of a report: a run on another table than its own. docs/cross_corpus.md."""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from jser.config import Experiment
from jser.config_rules import SPEAKER
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.data import adaptation, other_table
from jser.ensemble import provenance, run_config
from jser.ensemble.logits import Logits, path_of, splits_of
from jser.report import extracting, results, subjects
from jser.roots import Roots

FEWEST_LABELS = 2  # Among one, every answer is right.


def of_run(
    workdir: pathlib.Path, roots: Roots, folder: pathlib.Path, adapt: str | None = None
) -> results.Inputs:
    """A run on another table than its own, as far as it can be scored there.

    It is scored among the emotions that both have; its notes say what is left out.

    Args:
      workdir: Of the run.
      roots: Where tables, features and runs lie.
      folder: Of the other table.
      adapt: As of `subjects.of_run`.

    Raises:
      FileNotFoundError: if there is no run, or it was not asked about the table.
      ValueError: if tables, run and logits are not those of each other, or nothing can
        be scored.
    """
    experiment, metadata = run_config.read(workdir)
    own = tables.read(roots.data / experiment.data.corpus)
    provenance.refuse_other_table(workdir, own, roots)
    table = other_table.read(roots, experiment.data, folder)
    name = table.folder.resolve().name
    asked = {
        how: {
            s: provenance.of_other_table(workdir, s, table, roots, how)
            for s in splits_of(workdir, table=name, adapt=how)
        }
        for how in adaptation.shown(experiment, adapt)
    }
    everything = [x for by_split in asked.values() for x in by_split.values()]
    *_, (meant, primary) = asked.items()
    if not primary:
        given = {"table": str(folder), "adapt": meant, "split": "all"}
        predict = subjects.command_of("predict", workdir, roots, **given)
        there = path_of(workdir, "", table=name).parent
        raise FileNotFoundError(f"{there}: no logits of it; {predict} makes them.")
    labels = shared_labels(everything)
    known = [f"Trained on {everything[0].trained_on}, and scored on another table."]
    known += [n for s, x in primary.items() for n in notes(s, x, table, labels)]
    if len(labels) < FEWEST_LABELS:
        raise ValueError(f"{workdir}: nothing to score on {name}. {' '.join(known)}")
    failed = subjects.failures((experiment,), roots, name)
    known += _caveats(experiment, own, table) + subjects.left_out(failed)
    by_adapt = {
        how: {s: x.among(labels) for s, x in by_split.items() if len(x.among(labels))}
        for how, by_split in asked.items()
    }
    given = {"table": str(folder), "merge": _merged(everything, workdir)}
    commands = [
        *([table.command] if table.command else []),
        *extracting.of_run(table, experiment, metadata, roots),
        *(
            subjects.command_of("predict", workdir, roots, **given, adapt=how, split=s)
            for how, by_split in asked.items()
            for s in by_split
        ),
        subjects.command_of("evaluate", workdir, roots, table=str(folder), adapt=meant),
    ]
    inputs = subjects.of_predictions(workdir, roots, own, by_adapt, commands, known)
    return dataclasses.replace(inputs, table=table, labels=labels, failures=failed)


def _caveats(c: Experiment, own: Table, table: Table) -> list[str]:
    """What a reader must know of the run and both tables."""
    known = []
    if not c.model.mask_padding:
        known.append(
            "The network reads padding, so that its answers depend on the longest"
            " utterances of the table."
        )
    if "demo" in (own.source, table.source):
        known.append(subjects.SYNTHETIC)
    if c.data.adapt == SPEAKER:
        known.append(adaptation.NOTES[SPEAKER].format(c.name))
    return known


def shared_labels(asked: Sequence[Logits]) -> tuple[str, ...]:
    """The emotions that occur among what can be scored, in the order of the run's."""
    occurring = {label for x in asked for label in x.occurring()}
    return tuple(x for x in asked[0].labels.tolist() if x in occurring)


def notes(split: str, logits: Logits, table: Table, labels: Sequence[str]) -> list[str]:
    """What of a split of another table is scored, and what is left out.

    Args:
      split: Of the table.
      logits: Of all its utterances.
      table: As it was read.
      labels: Those that are told apart, of `shared_labels`.
    """
    can = logits.among(labels)
    known = [
        f"{split}: {len(can)} of {len(logits)} utterances are scored, among"
        f" {', '.join(labels)}: by chance UAR is {1 / max(len(labels), 1):.3f}."
    ]
    emotion = {u.utt_id: u.emotion for u in table.utterances}
    without = Counter(emotion[u] for u in logits.utt_id[logits.label < 0].tolist())
    if held_back := without.pop("", 0):
        known.append(f"{split}: {held_back} are left out, their labels are held back.")
    if without:
        counts = ", ".join(f"{e} {n}" for e, n in sorted(without.items()))
        known.append(
            f"{split}: {without.total()} are left out, whose emotion is none of the"
            f" run's: {counts}."
        )
    seen = logits.utt_id[logits.in_sample & (logits.label >= 0)].tolist()
    if seen:
        known.append(
            f"{split}: {len(seen)} are left out, whose sound the run was trained on,"
            f" e.g. {seen[0]!r}."
        )
    if heard := int(can.speaker_seen.sum()):
        known.append(
            f"{split}: {heard} of those scored are by speakers whom the run was trained"
            " on, which flatters the scores."
        )
    if merged := logits.merged.tolist():
        told = ", ".join(m.replace("=", " as ") for m in merged)
        known.append(f"{split}: {told}, as was asked.")
    return known + _cannot_answer(split, logits, labels)


def _cannot_answer(split: str, logits: Logits, labels: Sequence[str]) -> list[str]:
    """On the emotions of the run that the table lacks."""
    absent = [x for x in logits.labels.tolist() if x not in labels]
    rows = np.isin(logits.utt_id, logits.among(labels).utt_id)
    if not absent or not rows.any():
        return []
    free = logits.labels[logits.logits[rows].argmax(axis=1)]
    return [
        f"{split}: {', '.join(absent)} do not occur, and cannot be answered; if they"
        f" could, {np.isin(free, absent).mean():.0%} of the answers would be."
    ]


def _merged(asked: Sequence[Logits], workdir: pathlib.Path) -> str:
    """What of the table was counted as one of the run's, as `--merge` takes it."""
    given = sorted({",".join(x.merged.tolist()) for x in asked})
    if len(given) > 1:
        raise ValueError(
            f"{workdir}: predicted with --merge {' and '.join(map(repr, given))}. Run"
            " jser predict again with one of them for all."
        )
    return given[0]
