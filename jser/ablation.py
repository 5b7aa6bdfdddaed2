"""What each lever is worth: base and levers by the same seeds, paired. docs/sweep.md.

Every training leaves what it leaves alone; a rerun does what is missing.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

import jser
from jser import levers, locks, pipeline
from jser.config import Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble import provenance
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import Run, holding_out
from jser.levers import BASE, Lever
from jser.report import ablation_page, comparison, heard, subjects
from jser.roots import HELDOUT, Roots
from jser.statistics import paired

SCHEMA = 1  # Of ablation.json.
_TEST = "test"  # The split to score on, where there is one.


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is held out and scored, the same with and without a lever."""

    split: str  # Of the table; the train split where folds are held out.
    folds: tuple[int, ...]  # Each held out in turn; none where splits are given.

    @classmethod
    def of(
        cls,
        config: Experiment,
        table: Table,
        split: str = "",
        folds: Sequence[int] = (),
    ) -> "Protocol":
        """The protocol of a table.

        Args:
          config: A checked one.
          table: Of the config.
          split: To score on; by default "test" where its labels are known, else the dev
            split.
          folds: Of a cross-validated table those to hold out; by default all.

        Raises:
          ValueError: if the table has no such split or folds, or no labels there.
        """
        c = config.data
        if c.train_split == tables.CROSS_VALIDATED:
            return cls(c.train_split, _folds(config, table, split, folds))
        if folds:
            raise ValueError(
                f"--folds: of cross-validated tables, and {table.folder} has splits."
                " Give --split."
            )
        labelled = {u.split for u in table.utterances if u.emotion} - {c.train_split}
        split = split or (_TEST if _TEST in labelled else c.dev_split)
        if split not in labelled:
            raise ValueError(
                f"--split: {split!r} must be one that is not trained on and whose"
                f" labels are known; {table.folder} has {', '.join(sorted(labelled))}."
            )
        return cls(split, ())

    def runs(self, experiment: Experiment) -> list[Run]:
        """The trainings of an experiment, and what each is to predict."""
        if not self.folds:
            return [Run(experiment, (self.split,))]
        return [Run(holding_out(experiment, (k,)), (HELDOUT,)) for k in self.folds]

    def read(self, experiment: Experiment, table: Table, roots: Roots) -> Logits:
        """What these said, each utterance once."""
        parts = [
            provenance.of_run(
                *(roots.workdir(run.experiment), run.experiment, split, table, roots)
            )
            for run in self.runs(experiment)
            for split in run.splits
        ]
        return Logits.concatenate(parts)


def _folds(
    config: Experiment, table: Table, split: str, wanted: Sequence[int]
) -> tuple[int, ...]:
    c = config.data
    if split:
        raise ValueError(
            f"--split: {table.folder} is cross-validated; folds are scored, and --folds"
            " chooses some."
        )
    if c.holdout:
        raise ValueError(
            f"data.holdout: {c.holdout} must be empty: each fold is held out in turn."
            " Give --folds."
        )
    there = sorted({u.fold for u in table.select(c.train_split) if u.fold is not None})
    if odd := sorted(set(wanted) - set(there)):
        known = ", ".join(map(str, there))
        raise ValueError(f"--folds: {odd[0]}: {table.folder} has {known}.")
    if len(there) < 2:
        raise ValueError(
            f"{table.folder}: {len(there)} folds, and one is held out. Make more with"
            " jser prepare --folds."
        )
    return tuple(sorted(set(wanted))) or tuple(there)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """A config, its levers and seeds, and how they are scored."""

    base: Experiment
    table: Table
    protocol: Protocol
    levers: Mapping[str, tuple[Lever, Experiment]]  # By name, with the lever pulled.
    skipped: Mapping[str, str]  # Why, by the name of a lever.
    seeds: tuple[int, ...]

    @classmethod
    def of(
        cls,
        base: Experiment,
        table: Table,
        text: str,
        seeds: Sequence[int],
        protocol: Protocol,
    ) -> "Ablation":
        """The ablation of a config by the levers of `levers.read`.

        Raises:
          ValueError: as `levers.read`; if a lever that was named does not apply, or
            none of all does.
        """
        asked, may_skip = levers.read(text)
        names = [lever.name for lever in asked]
        pulled, skipped = {}, {}
        for lever in asked:
            try:
                experiment = levers.applied(lever, base, table, names)
            except ValueError as e:
                if not may_skip:
                    raise
                skipped[lever.name] = str(e).removeprefix(f"--levers {lever.name}: ")
            else:
                pulled[lever.name] = lever, experiment
        if not pulled:
            raise ValueError(f"--levers: none of {', '.join(names)} applies.")
        return cls(
            base=base,
            table=table,
            protocol=protocol,
            levers=pulled,
            skipped=skipped,
            seeds=tuple(seeds),
        )

    def systems(self) -> dict[str, tuple[Experiment, ...]]:
        """By lever, and first of the base, the experiment by each seed."""
        made = {BASE: self.base} | {name: e for name, (_, e) in self.levers.items()}
        names = [e.name for e in made.values()]
        return {k: levers.over_seeds(e, self.seeds, names) for k, e in made.items()}


def run(
    ablation: Ablation,
    roots: Roots,
    *,
    jobs: int = 1,
    at_once: bool = False,
    resident: bool = False,
    command: str = "",
) -> pathlib.Path:
    """Trains and scores what is not yet done; returns the folder of the results.

    Args:
      ablation: What is asked.
      roots: Where tables, features and runs lie.
      jobs: Trainings at a time, each on its share of the cores.
      at_once: Train runs of like shapes in one step (`together`).
      resident: Keep the frames that a training reads on the devices.
      command: What makes these results again.

    Raises:
      BlockingIOError: if another ablation of the config is at work.
      FloatingPointError: if a loss is not finite, naming the run.
    """
    folder = roots.runs / f"{ablation.base.name}_ablation"
    with locks.holding(folder, "give another --config.name"):
        systems = ablation.systems()
        every = [e for experiments in systems.values() for e in experiments]
        pipeline.extract_missing(every, ablation.table, roots)
        runs = [run for e in every for run in ablation.protocol.runs(e)]
        pipeline.train_all(runs, roots, jobs, at_once=at_once, resident=resident)
        results = score(ablation, roots) | {"command": command}
        ablation_page.write(results, folder)
    return folder


def score(ablation: Ablation, roots: Roots) -> dict[str, Any]:
    """All numbers, as ablation.json holds them. docs/sweep.md gives the shape.

    Utterances that a front end of any lever could not encode are left out of all, and
    those without a label, of which raters did not agree, are not scored.

    Raises:
      FileNotFoundError: if a run has not predicted yet.
    """
    table, protocol = ablation.table, ablation.protocol
    logits = {
        name: [protocol.read(e, table, roots) for e in experiments]
        for name, experiments in ablation.systems().items()
    }
    every = [x for by_seed in logits.values() for x in by_seed]
    ids = [set(x.utt_id[x.label >= 0].tolist()) for x in every]
    common = sorted(set.intersection(*ids))
    rows = {
        name: [x.take(np.argsort(x.utt_id)) for x in by_seed]
        for name, by_seed in logits.items()
    }
    rows = {n: [x.take(np.isin(x.utt_id, common)) for x in r] for n, r in rows.items()}
    first = rows[BASE][0]
    speakers = comparison.cluster(first)
    base = [measures(x, table) for x in rows[BASE]]
    found = []
    for name, (lever, experiment) in ablation.levers.items():
        pulled = [measures(x, table) for x in rows[name]]
        gains = {
            s: paired.gain(
                [m[s][1] for m in base],
                [m[s][1] for m in pulled],
                cluster=None if speakers is None else speakers[base[0][s][0]],
            )
            for s in base[0]
        }
        found.append(
            {
                "name": name,
                "fields": list(lever.fields),
                "source": lever.source,
                "run": experiment.name,
                "scores": {s: dataclasses.asdict(g) for s, g in gains.items()},
            }
        )
    return {
        "schema": SCHEMA,
        "jser": jser.__version__,
        "name": ablation.base.name,
        "corpus": ablation.base.data.corpus,
        "table": table.fingerprint,
        "config": ablation.base.to_dict(),
        "split": protocol.split,
        "folds": list(protocol.folds),
        "seeds": list(ablation.seeds),
        "utterances": len(first),
        "speakers": len(set(first.speaker.tolist()) - {""}),
        "drawn": "utterances" if speakers is None else "speakers",
        "levers": found,
        "skipped": dict(ablation.skipped),
        "notes": _notes(ablation, len(max(ids, key=len)) - len(common)),
    }


def measures(logits: Logits, table: Table) -> heard.Heard:
    """What a run is scored by, each on the rows of which the truth is known.

    Macro-F1 and UAR; the divergence from the raters' votes, if the table has them; the
    concordance of attributes that are predicted. Any score does that follows from sums.
    """
    predicted, rows = logits.logits.argmax(axis=1), np.arange(len(logits))
    every = paired.confusions(logits.label, predicted, len(logits.labels))
    found = {s: (rows, every[s]) for s in ("macro_f1", "uar")}
    divergence = heard.distribution(logits, table)
    found |= {s: x for s, x in divergence.items() if s == "jensen_shannon"}
    return found | heard.concordances(logits, table)


def _notes(ablation: Ablation, left_out: int) -> list[str]:
    """What a reader must know about the numbers."""
    table, split = ablation.table, ablation.protocol.split
    known = [subjects.SYNTHETIC] if table.source == "demo" else []
    if table.shares_speakers:
        known.append("Speakers are shared between splits, so the scores are flattered.")
    if split == ablation.base.data.dev_split:
        known.append(
            f"Each run's epoch was chosen on {split}, which flatters the scores there."
        )
    if left_out:
        known.append(
            f"{left_out} utterances are left out everywhere, because a front end could"
            " not encode them."
        )
    if len(ablation.levers) > 1:
        known.append(
            f"{len(ablation.levers)} levers are compared at once. Of twenty that change"
            " nothing, one is expected to have an interval that leaves out 0."
        )
    return known
