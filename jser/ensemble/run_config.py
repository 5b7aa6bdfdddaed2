"""Run metadata: a run's `config.json`, what it was made of. docs/run.md."""

from collections.abc import Collection, Mapping, Sequence
import copy
import pathlib
from typing import Any

import jser
from jser import files
from jser.config import Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import ATTRIBUTES
from jser.data import targets
from jser.data.corpus import Corpus

_HARMLESS = ("log_every", "checkpoint_every")  # They change no number of a run.
_SAMPLERS = {  # By their names in schema 1.
    "neutral_drawn": "neutral_balanced",
    "neutral_halves": "neutral_stratified",
    "class_drawn": "class_balanced",
}


def _from_schema_1(metadata: dict[str, Any]) -> dict[str, Any]:
    """Length buckets were levels, and samplers had other names."""
    new = copy.deepcopy(metadata)
    data = new["config"]["data"]
    data["length_buckets"] = data.pop("length_levels")
    data["sampler"] = _SAMPLERS.get(data["sampler"], data["sampler"])
    return new


_MIGRATIONS = (_from_schema_1,)
SCHEMA = 1 + len(_MIGRATIONS)


def write(
    workdir: pathlib.Path,
    experiment: Experiment,
    corpus: Corpus,
    arguments: Sequence[str] = (),
    *,
    init_from: str = "",
    encoder: Mapping[str, Any] | None = None,
    finished: bool = False,
) -> None:
    """Writes `config.json`, or refuses to go on with a run that was another one.

    One that is there stays as it was written: its digest names the run.

    Args:
      workdir: Of the run.
      experiment: A checked config.
      corpus: What it is trained on.
      arguments: What `jser train` was given, for a report to repeat.
      init_from: What names the run, and its checkpoint, that it starts from.
      encoder: What describes the one that learns, if one does.
      finished: Whether the run has come to its end; then its table may have changed
        in rows that it did not learn from.

    Raises:
      ValueError: if the run that is there was another one, field by field.
    """
    path = workdir / "config.json"
    failed = {u for f in corpus.streams.values() for u in f.failures}
    now = {
        "schema": SCHEMA,
        "jser": jser.__version__,
        "table": corpus.table.fingerprint,
        "learned_from": learned_from(corpus.table, experiment, corpus.specs, failed),
        "labels": list(corpus.table.labels),
        "front_ends": corpus.specs,
        "config": experiment.to_dict(),
        "arguments": list(arguments),
    }
    if init_from:
        now["init_from"] = init_from
    if encoder:
        now["encoder"] = dict(encoder)
    if not path.exists():
        files.write_json(path, now)
        return
    old, metadata = read(workdir)
    if "learned_from" not in metadata:  # Earlier versions did not keep it.
        del now["learned_from"]
    elif finished and now["learned_from"] == metadata["learned_from"]:
        now["table"] = metadata["table"]
    _refuse_others(workdir, {**metadata, "config": old.to_dict()}, now)


def learned_from(
    table: Table,
    experiment: Experiment,
    specs: Mapping[str, Any],
    failed: Collection[str],
) -> str:
    """Digest of the rows that a run is trained on and chosen by, in any order.

    Args:
      table: The utterances.
      experiment: Which of them: the train split less the folds held out, and the dev
        split; and what of them it learns.
      specs: Of the front ends: the kinds of input that count.
      failed: By utt_id, those left out since a front end could not encode them.
    """
    c, soft = experiment.data, experiment.loss.soft_labels
    kinds = sorted({spec["kind"] for spec in specs.values()})
    rows = [
        u
        for u in table.utterances
        if (u.split == c.train_split and u.fold not in c.holdout)
        or (c.dev_split and u.split == c.dev_split)
        if soft or not tables.without_majority(u)
    ]
    known = ("utt_id", "emotion", "votes", "speaker", "split", "fold")
    known += ("ratings",) if soft or experiment.tasks.secondary else ()
    known += ("gender",) if experiment.tasks.gender else ()
    known += ATTRIBUTES if experiment.tasks.attributes else ()
    lines = [
        [getattr(u, column) for column in known]
        + [tables.input_digest(u, kind) for kind in kinds]
        for u in rows
        if u.utt_id not in failed
    ]
    return files.digest(*sorted(map(repr, lines)))


def refuse_other_config(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Raises ValueError, field by field, if a run was trained by another config.

    Raises:
      FileNotFoundError: if there is no run.
    """
    old, _ = read(workdir)
    was, now = ({"config": e.to_dict()} for e in (old, experiment))
    _refuse_others(workdir, was, now)


def refuse_other_network(
    source: pathlib.Path,
    experiment: Experiment,
    corpus: Corpus,
    specs: Mapping[str, Any],
) -> None:
    """Raises ValueError unless an experiment can start from the parameters of a run.

    Network, front ends (`specs`) and label set are the same, and the run did not learn
    from utterances of the corpus that the experiment leaves out: its scores on them
    would be flattered.

    Raises:
      FileNotFoundError: if there is no run.
    """
    other, metadata = read(source)
    then = {k: metadata[k] for k in ("labels", "front_ends")} | _network(other)
    now = {"labels": list(corpus.table.labels), "front_ends": dict(specs)}
    differ = _differences(then, now | _network(experiment))
    a, b = other.data, experiment.data
    if a.corpus == b.corpus and (
        a.train_split != b.train_split or not {*b.holdout} <= {*a.holdout}
    ):
        differ += _differences(
            {"train_split": a.train_split, "holdout": list(a.holdout)},
            {"train_split": b.train_split, "holdout": list(b.holdout)},
        )
    if differ:
        raise ValueError(
            f"init_from: {source}: a run starts from one of the same network that"
            f" learned from none but its own utterances: {'; '.join(differ)}."
        )


def _network(c: Experiment) -> dict[str, Any]:
    """The fields that decide the parameters and what they read."""
    return {
        "model": c.to_dict()["model"],
        "data.streams": dict(c.data.streams),
        "data.standardize": list(c.data.standardize),
        "data.adapt": c.data.adapt,
        "tune": c.to_dict()["tune"],
        "a neutral head": c.loss.neutral_weight > 0,
        "tasks": list(targets.columns(c.tasks, 1)),
    }


def _refuse_others(
    workdir: pathlib.Path, then: dict[str, Any], now: dict[str, Any]
) -> None:
    if differ := _differences(then, now):
        raise ValueError(
            f"{workdir / 'config.json'}: this run was another one:"
            f" {'; '.join(differ)}. Give it another --workdir or --config.name, or"
            f" remove {workdir}."
        )


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    was, is_ = _flat(then), _flat(now)
    return [
        f"{field} was {was.get(field)!r}, is {is_.get(field)!r}"
        for field in sorted(was | is_)
        if was.get(field) != is_.get(field)
        and field not in ("jser", "schema", "arguments")
        and field.rpartition(".")[2] not in _HARMLESS
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} as {"optim.lr": 1}."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat = {}
    for k, v in value.items():
        flat |= _flat(v, f"{prefix}.{k}" if prefix else k)
    return flat


def read(workdir: pathlib.Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of a run, and all of its metadata in today's schema.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if a newer version of jser made it, or it is no config of a run.
    """
    path, remedy = _existing(workdir), f"Remove {workdir} and run jser train again."
    metadata = files.read_record(path, _MIGRATIONS, remedy)
    with files.reading(path, remedy):
        files.expect(metadata, {"table": str, "front_ends": dict})
        return Experiment.from_dict(metadata["config"]), metadata


def digest(workdir: pathlib.Path) -> str:
    """Digest of the metadata as they were written, whatever they are read as today.

    How the run was asked for is no part of it.

    Raises:
      FileNotFoundError: if there is no run.
    """
    metadata = files.read_json(_existing(workdir))
    return files.digest(repr({k: v for k, v in metadata.items() if k != "arguments"}))


def _existing(workdir: pathlib.Path) -> pathlib.Path:
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no run there; jser train makes one.")
    return path
