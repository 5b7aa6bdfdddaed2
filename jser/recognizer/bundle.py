"""Bundle: a trained model as one folder that others can use.

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
from jser.recognizer import bundle_config

SCHEMA = 1  # Of config.json.
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
_STACK = "stack.json"
_STACKER = ("stacker.skops", _STACK)
FILES = (CONFIG, TENSORS, *_STACKER, CARD)
AGAIN = "Fetch the model again, or make it anew with jser bundle."
_MOST_TENSOR_BYTES = 1 << 32
_AVERAGE = "average"


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
    # By `tune.encoder` of members whose encoder learned, what it was before.
    encoders: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def attributes_of(self) -> tuple[str, ...]:
        """The members that predict arousal, valence and dominance."""
        members = [m.experiment for m in self.members]
        return tuple(c.name for c in members if c.tasks.attributes)

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits that name networks, stacker, calibration and labels.

        Front ends have digests of their own, which are checked as they are opened.
        """
        flat = _flat(self.members)
        numbers = [
            files.digest(k, repr(x.shape), x.tobytes()) for k, x in sorted(flat.items())
        ]
        learned = self.stacker.learned_from if self.stacker else _AVERAGE
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
                "encoders": self.encoders,
                "members": [m.experiment.to_dict() for m in self.members],
                "combination": self.stacker.kind if self.stacker else _AVERAGE,
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
        within = sorted(str(p.parent) for p in folder.glob(f"*/{TENSORS}"))
        meant = f" Did you mean {' or '.join(within[:3])}?" if within else ""
        raise FileNotFoundError(
            f"{folder}: no model there; jser bundle makes one.{meant}"
        )
    if (folder / "checkpoints").is_dir():
        raise ValueError(
            f"{folder}: a run, and no model; jser bundle --workdir {folder} --out"
            " my-model makes one."
        )
    record = files.read_record(path, (), AGAIN)
    with files.reading(path, AGAIN, "cannot be used"):
        averaged = record["combination"] == _AVERAGE
        needed = (TENSORS,) if averaged else (TENSORS, _STACK)
        bundle_config.check(path, record, needed, (TENSORS, *_STACKER))
        experiments = [Experiment.from_dict(m).check() for m in record["members"]]
        bundle_config.check_members(record, experiments)
        calibration = Calibration(**record["calibration"])
    for name, digest in record["files"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file. {AGAIN}")
        if files.file_digest(folder / name) != digest:
            raise ValueError(
                f"{folder / name}: not the file config.json names. {AGAIN}"
            )
    stacker = None if averaged else _stacker(folder, record["combination"])
    card = folder / CARD
    return Bundle(
        name=record["name"],
        labels=tuple(record["labels"]),
        front_ends=record["front_ends"],
        encoders=record.get("encoders", {}),
        members=_members(folder / TENSORS, experiments),
        stacker=stacker,
        calibration=calibration,
        far=record["far"],
        about=record["about"],
        card=files.read_text(card) if card.is_file() else "",
    )


def _stacker(folder: pathlib.Path, kind: str) -> Stacker:
    with files.reading(folder / _STACK, AGAIN):
        stacker = stacker_store.load(folder)[-1]
        if stacker.kind != kind:
            raise ValueError(f"of kind {stacker.kind}, and config.json says {kind!r}")
    return stacker


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

    with files.reading(path, AGAIN):
        if path.stat().st_size > _MOST_TENSOR_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        flat = safetensors.load(path.read_bytes())
        trees: list[dict[str, Any]] = [{} for _ in experiments]
        number_of = {str(i): i for i in range(len(trees))}
        for name, x in flat.items():
            number, _, rest = name.partition("/")
            if number not in number_of:
                raise ValueError(f"{name!r:.80} is of no member")
            if not np.isfinite(x).all():
                raise ValueError(f"{name!r:.80} is not finite")
            trees[number_of[number]][rest] = x
        if not all(trees):
            raise ValueError(f"not {len(trees)} members")
        nested = [traverse_util.unflatten_dict(tree, sep="/") for tree in trees]
    return tuple(map(Member, experiments, nested))
