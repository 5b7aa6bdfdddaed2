"""Fields of a config set from the command line: `--config.optim.lr=3e-4`."""

import ast
from collections.abc import Sequence
import copy
import dataclasses
import typing
from typing import Any, TypeVar

from jser import config_files
from jser.config import Ensemble, Experiment

_OF_ENSEMBLE = ("name", "seed", "stacker")  # All other fields are its members'.
# What values of a kind look like.
_FORMS = {
    str: "a name, as demo",
    int: "a whole number, as 20",
    float: "a number, as 3e-4",
    bool: "true or false",
    tuple[int, ...]: "whole numbers, as 0,1",
    tuple[str, ...]: "names, as speech,text",
    dict[str, str]: "pairs, as speech=logmel,text=char_ngrams",
    dict[str, int]: "pairs, as speech=1,text=2",
}
# What others call a field; by the last part of its name.
_SYNONYMS = {
    "lr": ("learning_rate", "base_lr", "peak_lr", "rate"),
    "final_lr": ("min_lr", "end_lr", "lr_min"),
    "weight_decay": ("wd", "decay", "l2"),
    "warmup_steps": ("warmup", "num_warmup_steps"),
    "schedule": ("scheduler", "lr_schedule"),
    "batch_size": ("batch", "bs", "train_batch_size"),
    "corpus": ("dataset", "table"),
    "streams": ("features", "frontend", "frontends", "front_ends", "encoders"),
    "holdout": ("fold", "folds", "heldout", "held_out"),
    "standardize": ("normalize", "standardise"),
    "hidden": ("width", "hidden_size", "hidden_dim", "units"),
    "heads": ("num_heads", "attention_heads"),
    "epochs": ("epoch", "num_epochs", "max_epochs"),
    "seed": ("random_seed", "rng"),
    "focal_gamma": ("gamma",),
    "label_smoothing": ("smoothing",),
    "precision": ("dtype", "bf16", "tf32"),
}
_MEANT = {other: field for field, others in _SYNONYMS.items() for other in others}
_BOOLS = {"true": True, "1": True, "false": False, "0": False}

C = TypeVar("C", bound=Experiment | Ensemble)


def apply(config: C, assignments: Sequence[str]) -> C:
    """A config with fields set.

    A dict reads as `speech=logmel,text=char_ngrams` or as Python's, a tuple as `0,1` or
    `(0, 1)`; `data.streams.prosody=prosody` sets or adds one item.

    An ensemble has `name`, `seed` and `stacker` of its own. Any other field is set in
    all its members; `members.seed` is their seed. With `name=x` members are named
    `x_<member>`, so that those with fields set never meet the runs of those without.

    Args:
      config: Stays as it is.
      assignments: Each `field=value`, or `field` alone, which sets a bool.

    Raises:
      ValueError: naming the field, and the one that was meant or what it takes.
    """
    config = copy.deepcopy(config)
    for assignment in assignments:
        field, equals, text = assignment.partition("=")
        _refuse_renamed(field, assignment)
        _set(config, field, text if equals else None)
    return config


def fields(kind: Any, prefix: str = "") -> list[str]:
    """The dotted names of all fields of a config, sections opened."""
    names = []
    for name, of in typing.get_type_hints(kind).items():
        inside = dataclasses.is_dataclass(of)
        names += fields(of, f"{prefix}{name}.") if inside else [f"{prefix}{name}"]
    return names


def _set(config: Experiment | Ensemble, field: str, text: str | None) -> None:
    if isinstance(config, Ensemble) and field not in _OF_ENSEMBLE:
        if field == "members.name":
            raise ValueError("--config.members.name: set --config.name; theirs follow.")
        for member in config.members:
            _set_one(member, field.removeprefix("members."), text, config)
        return
    _set_one(config, field, text, config)
    if isinstance(config, Ensemble) and field == "name":
        named = {m.name: f"{config.name}_{m.name}" for m in config.members}
        for member in config.members:
            member.name = named[member.name]
            member.init_from = named.get(member.init_from, member.init_from)


def _set_one(target: Any, field: str, text: str | None, config: Any) -> None:
    """Sets a field of an experiment, or of an ensemble itself."""
    kind, (*sections, last) = type(target), field.split(".")
    for section in sections:
        kind, target = _kind(kind, section), getattr(target, section, None)
    kind = _kind(kind, last)
    if kind is None:
        raise ValueError(f"--config.{field}: no such field{_near(field, config)}")
    if dataclasses.is_dataclass(kind):
        inside = ", ".join(f"--config.{f}" for f in fields(kind, f"{field}."))
        raise ValueError(f"--config.{field} has fields; set one of {inside}.")
    value = _read(kind, text, field)
    if isinstance(target, dict):
        target[last] = value
    else:
        setattr(target, last, value)


def _kind(kind: Any, name: str) -> Any:
    """The type of what a section or a dict has by a name; None if there is none."""
    if dataclasses.is_dataclass(kind):
        return typing.get_type_hints(kind).get(name)
    if typing.get_origin(kind) is dict and name:
        return typing.get_args(kind)[1]
    return None


def _read(kind: Any, text: str | None, field: str) -> Any:
    """A value by the type of its field."""
    if text is None and kind is bool:
        return True
    if text is None:
        raise ValueError(f"--config.{field}: give it a value, {_FORMS[kind]}.")
    try:
        return _value(kind, text.strip())
    except (ValueError, KeyError, SyntaxError):
        raise ValueError(
            f"--config.{field}: {text!r} must be {_FORMS[kind]}."
        ) from None


def _value(kind: Any, text: str) -> Any:
    if kind is bool:
        return _BOOLS[text.lower()]
    if kind in (str, int, float):
        return kind(text)
    of = typing.get_args(kind)
    literal = ast.literal_eval(text) if text[:1] in ("(", "[", "{") else None
    items = [item.strip() for item in text.split(",") if item.strip()]
    if typing.get_origin(kind) is dict:
        pairs = dict(item.split("=") for item in items) if literal is None else literal
        return {str(k).strip(): _value(of[1], str(v)) for k, v in dict(pairs).items()}
    if literal is not None:
        items = literal if isinstance(literal, list | tuple) else [literal]
    return tuple(_value(of[0], str(item)) for item in items)


def _near(field: str, config: Any) -> str:
    """The end of an error: the fields that were perhaps meant, or those there are."""
    known = fields(Experiment)
    if isinstance(config, Ensemble):
        known = [f for f in known if f != "name"] + ["members.seed", "stacker", "name"]
    last = field.rpartition(".")[2]
    for word in (last, _MEANT.get(last)):
        if alike := [f for f in known if f.rpartition(".")[2] == word]:
            return f"; did you mean {' or '.join(f'--config.{f}' for f in alike)}?"
    return config_files.near(field, known, prefix="--config.")


def _refuse_renamed(field: str, assignment: str) -> None:
    for old in (field, assignment):
        bare = old.removeprefix("members.")
        new = config_files.RENAMED.get(bare)
        if new and bare not in fields(Experiment):
            raise ValueError(f"--config.{old} is called --config.{new} now.")
