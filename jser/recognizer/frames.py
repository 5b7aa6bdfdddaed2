"""From sounds and transcripts to the frames that a model's members read.

As extraction makes and stores them, float16 and all, but in memory. Features that one
encoder makes of several of its layers are made in one go.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import shlex
from typing import Any

import numpy as np

from jser import audio
from jser.encoders import layer_selection
from jser.feature_names import FeatureName
from jser.features import frontends, pooling, trimming
from jser.features.spec import Encoder, FrontEnd, Spec
from jser.front_end_table import PRETRAINED, Pretrained
from jser.training.tuned import TunedEncoder

Weights = Mapping[str, pathlib.Path | str]
VALUES = "values"  # Of a described front end: what `weights.values_digest` says.
# Two front ends that differ in nothing else are of one encoder.
_SHARED = ("name", "weights", "dtype", "backend", "compat", "context", "trimmed")


class FrameMaker:
    """The front ends of a model, opened."""

    def __init__(self, described: Mapping[str, Mapping[str, Any]], weights: Weights):
        """Opens the encoders, which reads their weights.

        Args:
          described: By name of features, the front end as a bundle keeps it.
          weights: Checkpoints by front end, where not those of the hub that jser knows
            by its name.

        Raises:
          FileNotFoundError: if weights are not here and cannot be fetched.
          ValueError: if a front end is not the one that the model was trained on.
        """
        groups: dict[tuple, dict[str, Mapping[str, Any]]] = {}
        for name, spec in described.items():
            tag = FeatureName.parse(name).tag
            key = (tag, *(spec.get(field) for field in _SHARED))
            groups.setdefault(key, {})[name] = spec
        self._groups = [_Group.open(g, weights) for g in groups.values()]
        self.names = tuple(described)
        self.reads_text = any(s["kind"] == "text" for s in described.values())

    def __call__(
        self, samples: Sequence[np.ndarray], transcripts: Sequence[str | None]
    ) -> dict[str, list[np.ndarray]]:
        """Frames float16 by name of features, of each utterance in order.

        Args:
          samples: At 16 kHz, 25 ms of them or more.
          transcripts: Of the same utterances; None where no front end reads them.

        Raises:
          AudioError: if a front end makes no usable frames of a sound.
          ValueError: if a transcript lacks.
        """
        if self.reads_text and any(t is None for t in transcripts):
            raise ValueError(
                "the model reads what was said: give the transcript, or a transcriber."
            )
        made: dict[str, list[np.ndarray]] = {}
        for group in self._groups:
            made |= group(samples if group.kind == "speech" else transcripts)
        return made


def refuse_unread(described: Mapping[str, Mapping[str, Any]], weights: Weights) -> None:
    """Raises ValueError where weights are given of a front end that a model lacks."""
    reads = {spec["name"] for spec in described.values()} & PRETRAINED.keys()
    if odd := sorted(set(weights) - reads):
        own = f"those of {', '.join(sorted(reads))}" if reads else "none"
        raise ValueError(f"weights of {odd[0]!r}: the model takes {own}.")


def refuse_other_encoder(
    spec: Mapping[str, Any], encoder: TunedEncoder, weights: Weights
) -> None:
    """Raises ValueError unless an encoder is the one that a model learned upon."""
    _refuse_other(encoder.spec.name, spec, encoder.spec, weights)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Features that one encoder makes."""

    names: tuple[str, ...]
    kind: str
    trimmed: bool
    layer: str  # What the encoder returns.
    encoder: Encoder

    @classmethod
    def open(
        cls, described: Mapping[str, Mapping[str, Any]], weights: Weights
    ) -> "_Group":
        """The features of one encoder, by name."""
        named = [FeatureName.parse(name) for name in described]
        layer = _widest([n.layer for n in named])
        whole = dataclasses.replace(named[0], layer=layer, pooling="")
        spec = next(iter(described.values()))
        front_end = _open(str(whole), spec, weights)
        _refuse_other(str(named[0]), spec, front_end.spec, weights)
        return cls(
            tuple(described), spec["kind"], whole.trimmed, layer, front_end.load()
        )

    def __call__(self, inputs: Sequence[Any]) -> dict[str, list[np.ndarray]]:
        if self.trimmed:
            inputs = [x[slice(*trimming.speech_span(x))] for x in inputs]
        encoded = self.encoder(inputs)
        return {name: [self._stored(name, x) for x in encoded] for name in self.names}

    def _stored(self, name: str, frames: np.ndarray) -> np.ndarray:
        """One utterance's frames of these features, as extraction stores them."""
        named = FeatureName.parse(name)
        if named.layer != self.layer:
            frames = _chosen(frames, named.layer, self.layer)
        if named.pooling:
            frames = pooling.pool(frames, named.pooling)
        with np.errstate(over="ignore"):
            half = frames.astype(np.float16)
        if not len(half) or not np.isfinite(half).all():
            raise audio.AudioError("the sound", "no frames", f"{name} makes none of it")
        return half


def _widest(layers: Sequence[str]) -> str:
    """The choice of layers that holds all of these."""
    if len(set(layers)) == 1:
        return layers[0]
    if all(layer_selection.named(layer) for layer in layers):
        return layer_selection.canonical(",".join(layers))
    return "all"


def _chosen(frames: np.ndarray, layer: str, of: str) -> np.ndarray:
    """A choice of layers, of frames [T, L, D] of a wider one."""
    if layer == "last":
        return frames[:, -1]
    if layer == f"mean_last_{layer_selection.MEAN_OF}":
        return frames[:, -layer_selection.MEAN_OF :].mean(axis=1)
    there = list(layer_selection.named(of)) or list(range(frames.shape[1]))
    at = [there.index(state) for state in layer_selection.named(layer)]
    return frames[:, at[0]] if len(at) == 1 else frames[:, at]


def _open(name: str, spec: Mapping[str, Any], weights: Weights) -> FrontEnd:
    front_end = FeatureName.parse(name).front_end
    if front_end not in PRETRAINED:
        return frontends.get(name)
    given, hub = weights.get(front_end), PRETRAINED[front_end].hub
    if not given and not hub:
        wanted = shlex.quote(f"{front_end}={spec['model']}")
        raise ValueError(
            f"the model reads {front_end} by weights {spec['model']!r}. If you trust"
            f" them, say so: --weights {wanted}, or a folder."
        )
    try:
        return frontends.open(
            name,
            weights=given or hub,
            dtype=spec["dtype"],
            compat=spec["compat"],
            context=spec.get("context", "full"),
        )
    except FileNotFoundError as e:
        raise FileNotFoundError(
            f"{e} The model reads it: --weights {front_end}=DIR."
        ) from e


def _refuse_other(
    name: str, spec: Mapping[str, Any], found: Spec, weights: Weights
) -> None:
    """Raises ValueError unless the front end is what the model was trained on."""
    now = dataclasses.asdict(found)
    for field in ("name", "kind", "version", "dtype", "compat"):
        if now[field] != spec[field]:
            raise ValueError(
                f"the model reads {name} with {field} {spec[field]!r}, and this version"
                f" of jser makes it with {now[field]!r}. Fetch a newer model, or the"
                " version of jser that it names."
            )
    if now["weights"] != spec["weights"]:
        entry = PRETRAINED[now["name"]]
        where = weights.get(entry.name) or entry.hub
        if _values(where, entry) != spec[VALUES]:
            raise ValueError(
                f"{where}: not the weights of {entry.name} that the model was trained"
                f" with ({spec['model']}). Give those: --weights {entry.name}=DIR."
            )


def _values(checkpoint: pathlib.Path | str, entry: Pretrained) -> str:
    from jser.encoders import hub, weights

    folder = hub.folder(checkpoint, entry.files)
    return weights.values_digest(folder, entry.model_type, entry.files)


def describe(name: str, spec: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """A front end as a bundle keeps it: the spec of its features, and the values.

    Raises:
      ValueError: if it cannot be made of a sound that is to come, or the weights are
        not those of the spec.
    """
    named = FeatureName.parse(name)
    if named.front_end == frontends.ARRAY or spec.get("name") == frontends.ARRAY:
        raise ValueError(
            f"{name}: features of your own cannot be made of a sound that is to come;"
            " a model that is to be used reads front ends of jser."
        )
    if spec.get("backend") == "torch":
        raise ValueError(
            f"{name}: made by other libraries' code (backend torch), which a model"
            " that others load may not ask for."
        )
    entry = PRETRAINED.get(named.front_end)
    if entry is None:
        return dict(spec)
    return dict(spec) | {VALUES: _checked_values(name, spec, weights)}


def describe_encoder(encoder: TunedEncoder, weights: Weights) -> dict[str, Any]:
    """One that learned, before it did, as `describe` has front ends."""
    spec = dataclasses.asdict(encoder.spec)
    return spec | {VALUES: _checked_values(spec["name"], spec, weights)}


def _checked_values(name: str, spec: Mapping[str, Any], weights: Weights) -> str:
    entry = PRETRAINED[FeatureName.parse(name).front_end]
    where = weights.get(entry.name) or entry.hub
    front_end = _open(name, spec, weights)
    if front_end.spec.weights != spec["weights"]:
        raise ValueError(
            f"{where}: not the weights that {name} was made with. Give those:"
            f" --weights {entry.name}=DIR."
        )
    return _values(where, entry)
