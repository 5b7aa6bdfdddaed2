"""Finds what is to be scored, and what a reader must know of it. docs/evaluate.md."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import shlex

from jser.config import Experiment, to_dict
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble.logits import Logits
from jser.features import store
from jser.report import priors, results
from jser.roots import Roots
from jser.training import metrics_log, run_config

UNIFORM = "uniform_prior"  # Folder of logits under a uniform prior.


def of_run(workdir: pathlib.Path, roots: Roots) -> results.Inputs:
    """A run by itself, on the splits it was asked about.

    Raises:
      FileNotFoundError: if there is no run, or it was asked about no split.
      ValueError: if the table is not the one it was trained on.
    """
    experiment, made_of = run_config.read(workdir)
    table = tables.read(roots.data / experiment.data.corpus)
    if made_of["table"] != table.fingerprint:
        raise ValueError(
            f"{workdir}: trained with table {made_of['table']}, but {table.folder} is"
            f" {table.fingerprint}. Train again, with another --workdir."
        )
    said = {
        path.stem: Logits.load(path)
        for path in sorted((workdir / "logits").glob("*.npz"))
    }
    seen = {split for split, found in said.items() if found.in_sample.any()}
    if not said.keys() - seen:
        raise FileNotFoundError(
            f"{workdir}/logits: nothing said of a split it was not trained on;"
            f" scripts/predict.py --workdir {workdir} --split test makes it so."
        )
    known = notes((experiment,), roots, table)
    known += [f"{s} is not scored: the run was trained on it." for s in sorted(seen)]
    name = workdir.resolve().name
    # Runs of earlier versions do not know what they were given.
    given = made_of.get("arguments") or ["--config", experiment.name]
    there = ["--workdir", str(workdir), *roots.arguments()]
    return results.Inputs(
        name=name,
        table=table,
        systems={name: {s: x for s, x in said.items() if s not in seen}},
        members=(name,),
        curves={name: metrics_log.read(workdir / "metrics.jsonl")},
        commands=[
            *([table.command] if table.command else []),
            shlex.join(["jser", "train", *given, *there]),
            *(shlex.join(["jser", "predict", *there, "--split", s]) for s in said),
            shlex.join(["jser", "evaluate", *there]),
        ],
        failures=failures((experiment,), roots),
        notes=known,
    )


def with_uniform(inputs: results.Inputs, folder: pathlib.Path) -> results.Inputs:
    """Adds the system meant under a uniform class prior, as a system of its own.

    Its logits, also on splits whose labels are held back, are written to
    `<folder>/logits/uniform_prior/`.

    Raises:
      ValueError: if there is nothing to fit the prior on but what it is applied to.
    """
    *_, (meant, by_split) = inputs.systems.items()
    adjusted = priors.with_uniform(by_split)
    if not adjusted:
        raise ValueError(
            f"--target_prior: {inputs.name} has neither folds nor a dev split beside a"
            " test split, and a prior is not fitted on the split it is applied to."
        )
    for split, found in adjusted.items():
        found.save(folder / "logits" / UNIFORM / f"{split}.npz")
    others = {s: x for s, x in inputs.systems.items() if s != meant}
    systems = {**others, f"{meant}, uniform prior": adjusted, meant: by_split}
    return dataclasses.replace(inputs, systems=systems)


def seeds_of(members: Sequence[Experiment]) -> dict[str, list[str]]:
    """The names of members that differ in nothing but their seed, by what they share.

    A config with one seed alone is not among them.
    """
    alike: dict[str, list[Experiment]] = {}
    for member in members:
        value = to_dict(member)
        del value["name"], value["seed"]
        alike.setdefault(json.dumps(value, sort_keys=True), []).append(member)
    return {
        group[0].name.removesuffix(f"_seed{group[0].seed}"): [m.name for m in group]
        for group in alike.values()
        if len(group) > 1
    }


def failures(members: Sequence[Experiment], roots: Roots) -> dict[str, str]:
    """Front end and reason by utterance, of those that could not be encoded."""
    found: dict[str, str] = {}
    for front_end in front_ends(members):
        folder = store.dataset_folder(roots.features, members[0].data.corpus, front_end)
        for utt_id, reason in store.FeatureSet(folder).failures.items():
            found.setdefault(utt_id, f"{front_end}: {reason}")
    return found


def front_ends(members: Sequence[Experiment]) -> list[str]:
    """The front ends that members read, in the order they come up."""
    return list(dict.fromkeys(f for m in members for f in m.data.streams.values()))


def notes(members: Sequence[Experiment], roots: Roots, table: Table) -> list[str]:
    """What a reader must know about the numbers."""
    found = []
    if table.source == "demo":
        found.append(
            "The speech is synthetic, made by a small program with known rules. These"
            " numbers show that the stages work; they say nothing about real emotion."
        )
    if table.split_policy == "utterances":
        found.append("Speakers are shared between splits, so the scores are flattered.")
    if members[0].data.train_split == tables.CROSS_VALIDATED:
        found.append(
            "Cross-validated: every utterance is scored by models that were trained"
            " without its fold; nothing was chosen on it. The curves are of the first"
            " fold's models."
        )
    elif members[0].data.dev_split:
        found.append(
            f"Each member's epoch was chosen on {members[0].data.dev_split}, which"
            " flatters the scores there."
        )
    if left_out := failures(members, roots):
        found.append(
            f"{len(left_out)} utterances are left out everywhere, because a front end"
            " could not encode them; they are listed below."
        )
    return found
