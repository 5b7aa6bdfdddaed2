"""A run's `config.json`: what it was made of. docs/run.md."""

from collections.abc import Sequence
import pathlib
from typing import Any

import jser
from jser import files
from jser.config import Experiment, from_dict, to_dict
from jser.data.corpus import Corpus

_HARMLESS = ("log_every", "checkpoint_every")  # They change no number of a run.


def write(
    workdir: pathlib.Path,
    experiment: Experiment,
    corpus: Corpus,
    arguments: Sequence[str] = (),
) -> None:
    """Writes `config.json`, or refuses to go on with a run that was another one."""
    path = workdir / "config.json"
    now = {
        "jser": jser.__version__,
        "table": corpus.table.fingerprint,
        "labels": list(corpus.table.labels),
        "front_ends": corpus.specs,
        "config": to_dict(experiment),
        "arguments": list(arguments),
    }
    if path.exists():
        was, is_ = _flat(files.read_json(path)), _flat(now)
        differ = [
            f"{field} was {was.get(field)!r}, is {is_.get(field)!r}"
            for field in sorted(was | is_)
            if was.get(field) != is_.get(field)
            and field not in ("jser", "arguments")
            and field.rpartition(".")[2] not in _HARMLESS
        ]
        if differ:
            raise ValueError(
                f"{path}: this run was another one: {'; '.join(differ)}. Give it"
                f" another --workdir, or remove {workdir}."
            )
    files.write_json(path, now)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"optim": {"lr": 1}} as {"optim.lr": 1}."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    found = {}
    for k, v in value.items():
        found |= _flat(v, f"{prefix}.{k}" if prefix else k)
    return found


def read(workdir: pathlib.Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of a run, and all of its `config.json`.

    Raises:
      FileNotFoundError: if there is no run.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no run there; scripts/train.py makes one.")
    record = files.read_json(path)
    return from_dict(record["config"]), record
