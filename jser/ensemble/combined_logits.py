"""Combined logits as `combine` left them: those of today's members and stacker."""

from collections.abc import Mapping
import pathlib
from typing import Any

from jser import files
from jser.config import Ensemble
from jser.config_rules import CHOSEN
from jser.ensemble import provenance, stacker_store
from jser.ensemble.logits import Logits
from jser.ensemble.member_logits import MemberLogits
from jser.ensemble.out_of_fold import plan

_AGAIN = "Run jser stack again."


def read(
    members: MemberLogits, by_split: Mapping[str, Mapping[str, Logits]]
) -> dict[str, dict[str, Logits]]:
    """By system, the ensemble's stacker last, and split.

    Args:
      members: Of the ensemble.
      by_split: What `members.by_split` gave.

    Raises:
      FileNotFoundError: if nothing is combined yet.
      ValueError: if logits or stacker were made of others, naming the file.
    """
    ensemble, table = members.ensemble, members.table
    folder = members.roots.runs / ensemble.name
    record = read_stack(ensemble, folder)
    if record:
        refuse_other_teachers(members, folder / "stack.json", record)
    systems: dict[str, dict[str, Logits]] = {}
    for kind in dict.fromkeys(("average", ensemble.stacker)):
        systems[kind] = {}
        for split, first in next(iter(by_split.values())).items():
            path = folder / "logits" / kind / f"{split}.npz"
            logits = provenance.load(path)
            makers = {m for x in by_split.values() for m in x[split].made_by.tolist()}
            of_today = made_as(kind, record)
            # Logits of earlier versions do not know their system.
            if (
                set(logits.made_by.tolist()) != makers
                or (logits.system or of_today) != of_today
            ):
                raise ValueError(
                    f"{path}: not combined of the members' logits, or by the stacker,"
                    f" of today. {_AGAIN}"
                )
            ids = set(first.utt_id.tolist())
            rows = [u for u in table.select(split) if u.utt_id in ids]
            provenance.refuse_other_rows(path, logits, table, rows)
            systems[kind][split] = logits
    return systems


def made_as(kind: str, record: Mapping[str, Any]) -> str:
    """The `system` of logits by the average, or by the stacker of a stack.json."""
    if kind == "average":
        return kind
    learned = [about["learned_from"] for _, about in sorted(record["folds"].items())]
    return f"{kind}@{files.digest(str(record['seed']), *learned)}"


def read_stack(ensemble: Ensemble, folder: pathlib.Path) -> dict[str, Any]:
    """What stack.json says; {} of an average.

    Raises:
      ValueError: if it is of another stacker than the config's.
    """
    if ensemble.stacker == "average":
        return {}
    path = folder / "stack.json"
    record = files.read_record(path, stacker_store.MIGRATIONS, _AGAIN)
    for field, now in (
        ("stacker", ensemble.stacker),
        ("seed", ensemble.seed),
        ("members", [m.name for m in ensemble.members]),
    ):
        if record.get(field) != now:
            raise ValueError(
                f"{path}: of another {field} than {now!r}, which the config names."
                " Run jser stack."
            )
    with files.reading(path, _AGAIN):
        files.expect(
            record, {"seed": int, "labels": list, "made_by": list, "folds": dict}
        )
        for about in record["folds"].values():
            files.expect(about, {"made_by": list, "learned_from": str})
            if ensemble.stacker == CHOSEN:
                files.expect(about, {"chosen": str, "candidates": dict})
        made = [record["made_by"], *(a["made_by"] for a in record["folds"].values())]
        if not all(isinstance(m, str) for names in made for m in names):
            raise TypeError("made_by does not name runs")
    return record


def refuse_other_teachers(
    members: MemberLogits, path: pathlib.Path, record: Mapping[str, Any]
) -> None:
    """Raises ValueError unless a stacker learned from today's runs of its members."""
    runs = plan(members.ensemble, members.table)
    most = max(len(r.experiment.data.holdout) for r in runs)
    taught = [r for r in runs if len(r.experiment.data.holdout) == most]
    workdirs = [members.roots.workdir(r.experiment) for r in taught]
    by_fold = {m for about in record["folds"].values() for m in about["made_by"]}
    if set(record["made_by"]) != by_fold or not provenance.are_of(by_fold, workdirs):
        raise ValueError(
            f"{path}: the stacker did not learn from what the members' runs are today."
            f" {_AGAIN}"
        )
    if list(record["labels"]) != list(members.table.labels):
        raise ValueError(f"{path}: of other labels than {members.table.folder}.")
