"""Run metadata: a run's `config.json`, what it was made of. docs/run.md."""

from collections.abc import Sequence
import copy
import pathlib
from typing import Any

import jser
from jser import files
from jser.config import Experiment
from jser.corpora.tables import Table
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
) -> None:
    """Writes `config.json`, or refuses to go on with a run that was another one.

    One that is there stays as it was written: its digest names the run.

    Args:
      workdir: Of the run.
      experiment: A checked config.
      corpus: What it is trained on.
      arguments: What `jser train` was given, for a report to repeat.

    Raises:
      ValueError: if the run that is there was another one, field by field.
    """
    path = workdir / "config.json"
    now = {
        "schema": SCHEMA,
        "jser": jser.__version__,
        "table": corpus.table.fingerprint,
        "labels": list(corpus.table.labels),
        "front_ends": corpus.specs,
        "config": experiment.to_dict(),
        "arguments": list(arguments),
    }
    if not path.exists():
        files.write_json(path, now)
        return
    old, metadata = read(workdir)
    _refuse_others(workdir, {**metadata, "config": old.to_dict()}, now)


def refuse_other_config(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Raises ValueError, field by field, if a run was trained by another config.

    Raises:
      FileNotFoundError: if there is no run.
    """
    old, _ = read(workdir)
    was, now = ({"config": e.to_dict()} for e in (old, experiment))
    _refuse_others(workdir, was, now)


def refuse_other_table(workdir: pathlib.Path, table: Table) -> None:
    """Raises ValueError if a run was trained on another table.

    Raises:
      FileNotFoundError: if there is no run.
    """
    _, metadata = read(workdir)
    if metadata["table"] != table.fingerprint:
        raise ValueError(
            f"{workdir}: trained with table {metadata['table']}, but {table.folder} is"
            f" {table.fingerprint}. Train again, with another --workdir."
        )


def _refuse_others(
    workdir: pathlib.Path, then: dict[str, Any], now: dict[str, Any]
) -> None:
    was, is_ = _flat(then), _flat(now)
    differ = [
        f"{field} was {was.get(field)!r}, is {is_.get(field)!r}"
        for field in sorted(was | is_)
        if was.get(field) != is_.get(field)
        and field not in ("jser", "schema", "arguments")
        and field.rpartition(".")[2] not in _HARMLESS
    ]
    if differ:
        raise ValueError(
            f"{workdir / 'config.json'}: this run was another one:"
            f" {'; '.join(differ)}. Give it another --workdir or --config.name, or"
            f" remove {workdir}."
        )


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
    path = _existing(workdir)
    try:
        metadata = files.read_record(path, _MIGRATIONS)
        experiment = Experiment.from_dict(metadata["config"])
        if lacking := {"table", "front_ends"} - metadata.keys():
            raise KeyError(*lacking)
    except (AttributeError, KeyError, TypeError) as e:
        raise ValueError(
            f"{path}: not the config of a run ({e!r}). Put back what was there, or"
            f" remove {workdir} and train again."
        ) from e
    return experiment, metadata


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
