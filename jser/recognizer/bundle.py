"""Bundle: a trained model as one folder that others can use. docs/bundle.md.

    config.json         what it says and how it was made
    model.safetensors   the members' parameters and normalisation statistics
    stack.json          the stacker; none of a plain average
    stacker.skops       its models, where it has any
    README.md           the model card

No utterance is named in it, no pickle lies in it, and loading it runs no code of it.
"""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from flax import traverse_util
import numpy as np

import jser
from jser import audio, files
from jser.config import Experiment
from jser.ensemble import stacker_store
from jser.ensemble.stacking import Stacker
from jser.feature_names import FeatureName
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS

SCHEMA = 1  # Of config.json.
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
_STACKER = ("stacker.skops", "stack.json")
FILES = (CONFIG, TENSORS, *_STACKER, CARD)
_AGAIN = "Fetch the model again, or make it anew with jser bundle."
_MOST_TENSOR_BYTES = 1 << 32
_LONGEST_LABEL = 80


@dataclasses.dataclass(frozen=True)
class Member:
    """A trained network."""

    experiment: Experiment
    variables: Mapping[str, Any]  # "params" and "standard", nested.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted on utterances of speakers whom the members had not heard."""

    temperature: float  # Of the combined log-probabilities.
    unknown_below: float  # Confidence under which the label is withheld.
    candidates: Mapping[str, float]  # By coverage, the largest nonconformity kept.
    speakers: int  # That it was fitted on.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A model as it is used."""

    name: str
    labels: tuple[str, ...]
    front_ends: Mapping[str, Mapping[str, Any]]  # By name of features, `described`.
    members: tuple[Member, ...]
    stacker: Stacker | None  # None of a plain average.
    calibration: Calibration
    far: Mapping[str, float]  # By name of features, the distance that few trained at.
    about: Mapping[str, Any]  # Figures, corpus, license and so on, for the card.
    card: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits that name all that decides an answer."""
        flat = _flat(self.members)
        numbers = [
            files.digest(k, repr(x.shape), x.tobytes()) for k, x in sorted(flat.items())
        ]
        learned = self.stacker.learned_from if self.stacker else "average"
        return files.digest(
            repr(self.labels), repr(self.calibration), learned, *numbers
        )

    def save(self, folder: pathlib.Path) -> None:
        """Writes the folder; config.json, which names the rest, comes last.

        Raises:
          FileExistsError: if something else than a bundle lies there.
        """
        from safetensors import numpy as safetensors

        if folder.exists() and any(folder.iterdir()) and not is_bundle(folder):
            raise FileExistsError(f"{folder}: something else is there. Give another.")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        for name in _STACKER:
            (folder / name).unlink(missing_ok=True)
        files.write_atomically(folder / TENSORS, safetensors.save(_flat(self.members)))
        if self.stacker:
            stacker_store.save(folder, {-1: self.stacker})
        files.write_atomically(folder / CARD, self.card)
        kept = [n for n in (TENSORS, *_STACKER) if (folder / n).is_file()]
        files.write_json(
            folder / CONFIG,
            {
                "schema": SCHEMA,
                "jser": jser.__version__,
                "name": self.name,
                "labels": self.labels,
                "sample_rate_hz": audio.SAMPLE_RATE_HZ,
                "front_ends": self.front_ends,
                "members": [m.experiment.to_dict() for m in self.members],
                "combination": self.stacker.kind if self.stacker else "average",
                "calibration": dataclasses.asdict(self.calibration),
                "far": self.far,
                "about": self.about,
                "files": {n: files.file_digest(folder / n) for n in kept},
            },
        )


def is_bundle(folder: pathlib.Path) -> bool:
    """Whether a bundle lies there, or the rest of one that was cut while written."""
    return (folder / TENSORS).is_file()


def load(folder: pathlib.Path) -> Bundle:
    """Reads a bundle that `save` wrote, of this version of jser or an earlier one.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged, of a newer version, or asks for what a bundle may
        not: a front end that is not registered, code of other libraries.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no model there; jser bundle makes one.")
    record = files.read_record(path, (), _AGAIN)
    with files.reading(path, _AGAIN):
        files.expect(
            record,
            {
                **{"name": str, "labels": list, "front_ends": dict, "members": list},
                **{"combination": str, "calibration": dict, "far": dict},
                **{"about": dict, "files": dict},
            },
        )
        _refuse_unsafe(path, record)
        experiments = [Experiment.from_dict(m) for m in record["members"]]
        calibration = Calibration(**record["calibration"])
        labels = tuple(map(str, record["labels"]))
    for name, digest in record["files"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file. {_AGAIN}")
        if files.file_digest(folder / name) != digest:
            raise ValueError(
                f"{folder / name}: not the file config.json names. {_AGAIN}"
            )
    stacker = None
    if record["combination"] != "average":
        stacker = stacker_store.load(folder)[-1]
    card = folder / CARD
    return Bundle(
        name=record["name"],
        labels=labels,
        front_ends=record["front_ends"],
        members=_members(folder / TENSORS, experiments),
        stacker=stacker,
        calibration=calibration,
        far=record["far"],
        about=record["about"],
        card=files.read_text(card) if card.is_file() else "",
    )


def _refuse_unsafe(path: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Raises ValueError where a folder from elsewhere asks for more than data."""
    allowed = {TENSORS, *_STACKER}
    if odd := set(record["files"]) - allowed:
        raise ValueError(f"{path}: names a file {sorted(odd)[0]!r} that no bundle has.")
    for name, spec in record["front_ends"].items():
        front_end = FeatureName.parse(name).front_end
        if front_end not in (*PRETRAINED, *WITHOUT_WEIGHTS):
            raise ValueError(
                f"{path}: front end {name!r} is not one that jser has. Update jser."
            )
        if spec.get("backend") == "torch":
            raise ValueError(
                f"{path}: {name!r} runs other libraries' code (backend torch), which no"
                " bundle may ask for."
            )
    labels = record["labels"]
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"{path}: labels {labels!r} are not distinct names.")
    for label in labels:
        if not isinstance(label, str) or not 0 < len(label) <= _LONGEST_LABEL:
            raise ValueError(f"{path}: {label!r:.80} is no name of an emotion.")


def _flat(members: tuple[Member, ...]) -> dict[str, np.ndarray]:
    """All arrays, by member and path."""
    flat = {}
    for i, member in enumerate(members):
        leaves = traverse_util.flatten_dict(dict(member.variables), sep="/")
        for name, x in leaves.items():
            flat[f"{i}/{name}"] = np.ascontiguousarray(x)
    return flat


def _members(path: pathlib.Path, experiments: list[Experiment]) -> tuple[Member, ...]:
    from safetensors import numpy as safetensors

    with files.reading(path, _AGAIN):
        if path.stat().st_size > _MOST_TENSOR_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        flat = safetensors.load(path.read_bytes())
        trees: list[dict[str, Any]] = [{} for _ in experiments]
        for name, x in flat.items():
            number, _, rest = name.partition("/")
            if not np.isfinite(x).all():
                raise ValueError(f"{name!r} is not finite")
            trees[int(number)][rest] = x
    return tuple(
        Member(e, traverse_util.unflatten_dict(tree, sep="/"))
        for e, tree in zip(experiments, trees, strict=True)
    )
