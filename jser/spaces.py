"""What fields of a config may be, for the trials of a sweep. docs/sweep.md."""

from collections.abc import Callable
import pathlib
import runpy
from typing import Any

from optuna.trial import BaseTrial

from jser import config_rules, files, overrides
from jser.config import Experiment

_FORM = (
    "Write --space as optim.lr=log:1e-5:1e-3,augment.mixup=0:0.4,data.sampler="
    "shuffle|class_balanced, or give a file (.py) with get_fields(trial)."
)
Proposal = Callable[[BaseTrial], list[str]]  # Fields, as `overrides.apply` takes them.


def proposal(space: str, base: Experiment) -> Proposal:
    """What gives the fields of a trial.

    Args:
      space: `optim.lr=log:1e-5:1e-3,augment.mixup=0:0.4,loss.kind=focal|kl`: numbers in
        a range, by their logarithm or not, and one of several values. Or a file (.py)
        whose `get_fields(trial)` asks Optuna's trial and returns fields.
      base: The config that they are set in.

    Raises:
      ValueError: if it cannot be read, naming the field.
      FileNotFoundError: if there is no such file.
    """
    if space.endswith(".py"):
        return _of_file(pathlib.Path(space))
    parts = [part.partition("=") for part in space.split(",") if part.strip()]
    asks = {field.strip(): _ask(field.strip(), x, base) for field, _, x in parts}
    if not asks or len(asks) < len(parts):
        raise ValueError(f"--space: {space!r} names no field, or one twice. {_FORM}")
    return lambda trial: [f"{field}={ask(trial)}" for field, ask in asks.items()]


def _ask(field: str, text: str, base: Experiment) -> Callable[[BaseTrial], Any]:
    """What gives the value of one field."""
    if "|" in text:
        values = [x.strip() for x in text.split("|")]
        overrides.apply(base, [f"{field}={x}" for x in values])  # Refuses others.
        return lambda trial: trial.suggest_categorical(field, values)
    *kind, low, high = ["", *text.split(":")] if ":" in text else [None, "", ""]
    if kind not in ([""], ["", "log"]):
        raise ValueError(f"--space: {field}={text}: no range, no values. {_FORM}")
    overrides.apply(base, [f"{field}={x}" for x in (low, high)])
    of, log = type(config_rules.value(base, field)), "log" in kind
    if of not in (int, float):
        raise ValueError(f"--space: {field} has no range; give values, as a|b.")
    ends = float(low), float(high)
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        allowed = "from low to high" + (", above 0" if log else "")
        raise ValueError(f"--space: {field}={text} must be {allowed}.")
    if of is int:
        first, last = int(low), int(high)
        return lambda trial: trial.suggest_int(field, first, last, log=log)
    return lambda trial: trial.suggest_float(field, *ends, log=log)


def _of_file(path: pathlib.Path) -> Proposal:
    if not path.is_file():
        raise FileNotFoundError(f"--space: {path}: no such file. {_FORM}")
    with files.reading(path, "Mend it.", "fails"):
        get_fields = runpy.run_path(str(path))["get_fields"]

    def propose(trial: BaseTrial) -> list[str]:
        with files.reading(path, "Mend it.", "get_fields fails"):
            return [str(field) for field in get_fields(trial)]

    return propose


def source(space: str) -> str:
    """The space in words that change as it changes."""
    return files.read_text(pathlib.Path(space)) if space.endswith(".py") else space
