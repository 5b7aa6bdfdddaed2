"""config.json of a bundle, as it may come from anywhere: what may stand in it."""

from collections.abc import Mapping, Sequence
import contextlib
import math
import pathlib
from typing import Any

from jser import audio, files
from jser.config import Experiment
from jser.feature_names import FeatureName
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS

_FIELDS = {
    **{"name": str, "labels": list, "front_ends": dict, "members": list},
    **{"combination": str, "calibration": dict, "far": dict, "about": dict},
    "files": dict,
}
_SPEC = {
    **dict.fromkeys(("name", "kind", "model", "dtype", "weights"), str),
    **{"width": int, "version": int, "compat": bool},
}
_MORE = {"layers": 1, "backend": "", "context": "full", "trimmed": False, "pooling": ""}
_LONGEST = 255  # Characters of a name.
_LONGEST_LABEL = 80
_LONGEST_CAUTION = 10_000
_WIDEST = 1 << 16  # Columns of a frame, and layers.


def check(
    path: pathlib.Path,
    record: Mapping[str, Any],
    needed: Sequence[str],
    known: Sequence[str],
) -> None:
    """Refuses what is damaged, or asks for more than data.

    Args:
      path: Of the file.
      record: The JSON object.
      needed: Files that it must name.
      known: Files that it may name.

    Raises:
      KeyError: if a field is missing.
      TypeError: if one is of another type.
      ValueError: if one says what cannot be, or no bundle may.
    """
    files.expect(record, _FIELDS)
    _check_name("name", record["name"])
    if record.get("sample_rate_hz", audio.SAMPLE_RATE_HZ) != audio.SAMPLE_RATE_HZ:
        raise ValueError(f"sounds at {record['sample_rate_hz']!r:.40} Hz")
    if odd := set(record["files"]) - set(known):
        raise ValueError(f"names a file {min(odd)!r:.80} that no bundle has")
    if lacking := set(needed) - set(record["files"]):
        raise ValueError(f"names no digest of {min(lacking)}")
    if not record["front_ends"]:
        raise ValueError("no front ends")
    encoders = record.get("encoders", {})
    files.expect({"encoders": encoders}, {"encoders": dict})
    for name, spec in (*record["front_ends"].items(), *encoders.items()):
        _check_front_end(path, name, spec)
    _check_labels(record["labels"])
    if (caution := record["about"].get("caution")) is not None:
        _check_name("caution", caution, _LONGEST_CAUTION)
    _check_numbers(record)


def check_members(record: Mapping[str, Any], members: Sequence[Experiment]) -> None:
    """Raises ValueError where a member reads what no front end makes.

    Args:
      record: That `check` let pass.
      members: Their configs.
    """
    if not members:
        raise ValueError("no members")
    for c in members:
        reads = set(c.data.streams.values()) - set(record["front_ends"])
        learned = {c.tune.encoder} - {""} - set(record.get("encoders", {}))
        if other := reads | learned:
            raise ValueError(f"a member reads {min(other)!r:.80}, which none makes")


def _check_front_end(path: pathlib.Path, name: str, spec: Any) -> None:
    entry = FeatureName.parse(name).front_end
    if entry not in (*PRETRAINED, *WITHOUT_WEIGHTS):
        raise ValueError(
            f"{path}: front end {name!r:.80} is not one that jser has. Update jser."
        )
    files.expect(spec, _SPEC)
    whole = _MORE | spec
    files.expect(whole, {field: type(x) for field, x in _MORE.items()})
    foreign = entry in PRETRAINED and not PRETRAINED[entry].model_type
    if foreign or whole["backend"] == "torch":
        raise ValueError(
            f"{path}: {name!r:.80} runs other libraries' code (backend torch), which no"
            " bundle may ask for."
        )
    if entry in PRETRAINED:
        files.expect(spec, {"values": str})
        _check_name(f"model of {name}", spec["model"])
    for size in ("width", "layers"):
        if not 1 <= whole[size] <= _WIDEST:
            raise ValueError(f"{size} {whole[size]} of {name!r:.80}")


def _check_labels(labels: Sequence[Any]) -> None:
    if not labels:
        raise ValueError("no labels")
    for label in labels:
        _check_name("label", label, _LONGEST_LABEL)
    if len(set(labels)) != len(labels):
        raise ValueError("a label stands there twice")


def _check_name(what: str, text: Any, longest: int = _LONGEST) -> None:
    """Refuses what cannot be shown in a line."""
    if not isinstance(text, str) or not 0 < len(text) <= longest:
        raise ValueError(f"{what} {text!r:.40} is no text of 1 to {longest} letters")
    if not text.isprintable():
        raise ValueError(f"{what} {text!r:.80} has letters that cannot be shown")


def _check_numbers(record: Mapping[str, Any]) -> None:
    fitted = record["calibration"]
    files.expect(fitted, {"candidates": dict, "speakers": int})
    for name in ("temperature", "unknown_below"):
        _check_number(name, fitted[name])
    if not fitted["temperature"] > 0:
        raise ValueError(f"temperature {fitted['temperature']}")
    if not fitted["candidates"]:
        raise ValueError("no candidates")
    for coverage, x in fitted["candidates"].items():
        _check_coverage(coverage)
        _check_number("candidates", x)
    for name, x in record["far"].items():
        _check_number(f"far of {name:.80}", x)


def _check_coverage(text: str) -> None:
    with contextlib.suppress(ValueError):
        if text == str(float(text)) and 0 < float(text) < 1:
            return
    raise ValueError(f"candidates of a coverage {text!r:.40}, which is no share")


def _check_number(name: str, x: Any) -> None:
    if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
        raise ValueError(f"{name} {x!r:.40} is no finite number")
