"""Front ends: what turns an utterance's sound or transcript into frames [T, D].

`get` gives those without weights, `open` all of them; docs/encoders.md lists them.
All that decides a front end's numbers is in its `Spec`, which becomes part of the
fingerprint of the features made with it.
"""

from collections.abc import Callable
import dataclasses
import functools
import inspect
import pathlib
from typing import Any

import numpy as np

from jser.features import acoustic
from jser.features.char_ngrams import NGRAM_BUCKETS, char_ngrams
from jser.features.spec import Encoder, FrontEnd, Spec
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS, Pretrained


class _Each:
    """One utterance after the other."""

    compiled = 0

    def __init__(self, encode: Callable[[Any], np.ndarray]):
        self._encode = encode

    def __call__(self, inputs, on_done=None):
        made = []
        for x in inputs:
            made.append(self._encode(x))
            if on_done:
                on_done(1)
        return made


def _front_end(
    encode: Callable[[Any], np.ndarray],
    width: int,
    frames_per_s: float = 0.0,
    version: int = 1,
) -> FrontEnd:
    """A front end without weights, named as its function is."""
    name = encode.__name__
    spec = Spec(
        name=name,
        kind=WITHOUT_WEIGHTS[name],
        width=width,
        frames_per_s=frames_per_s,
        version=version,
    )
    return FrontEnd(spec, functools.partial(_Each, encode))


_ALL = (
    _front_end(acoustic.logmel, acoustic.MELS, acoustic.FRAMES_PER_S),
    _front_end(acoustic.mfcc, 2 * acoustic.CEPSTRA, acoustic.FRAMES_PER_S),
    _front_end(acoustic.prosody, acoustic.PROSODY_WIDTH, acoustic.FRAMES_PER_S),
    _front_end(acoustic.functionals, acoustic.FUNCTIONALS_WIDTH),
    # Version 1 took words apart at their combining marks.
    _front_end(char_ngrams, NGRAM_BUCKETS, version=2),
)
FRONT_ENDS = {f.spec.name: f for f in _ALL}


def get(name: str) -> FrontEnd:
    """The front end of that name, of those without weights.

    Raises:
      ValueError: if there is none, with those there are.
    """
    if name in PRETRAINED:
        raise ValueError(f"front end {name!r} has weights: open it with `open`.")
    if name not in FRONT_ENDS:
        raise ValueError(
            f"front end {name!r} is not one of {', '.join(sorted(FRONT_ENDS))}."
        )
    return FRONT_ENDS[name]


def open(
    name: str,
    *,
    weights: pathlib.Path | str | None = None,
    layer: str = "last",
    dtype: str = "float32",
    backend: str = "jax",
    compat: bool = False,
    context: str | None = None,
) -> FrontEnd:
    """The front end of that name, with weights or without; `load` gives its encoder.

    Of a checkpoint its config.json is read here, and its weights' bytes for the digest;
    nothing is loaded.

    Args:
      name: Of `FRONT_ENDS` or `PRETRAINED`.
      weights: The checkpoint: a folder, or `<owner>/<model>` on the hub. Some names
        have one of their own.
      layer: Which hidden states are the frames: "last", a number (0 for what the first
        block reads), "mean_last_4", or "all" of them.
      dtype: Of matrix products and convolutions: "float32" or "bfloat16".
      backend: "jax", or "torch" for transformers' own code.
      compat: Makes what the authors' files hold: transcripts are cut at 80 tokens or
        padded to them, padding's states included; Whisper's frames end where theirs
        do; no other sound is cut into windows.
      context: What Whisper reads: "full" for silence up to 30 s, or "short" for silence
        up to the next whole second; None for what the name has.

    Raises:
      FileNotFoundError: if the checkpoint is not here, with the command to fetch it.
      ValueError: if an option means nothing to this front end, or the checkpoint is
        another kind of model than the name says.
    """
    options: dict[str, Any] = {
        "layer": layer,
        "dtype": dtype,
        "backend": backend,
        "compat": compat,
        "context": context,
    }
    if name not in PRETRAINED:
        if name not in FRONT_ENDS:
            known = ", ".join(sorted([*FRONT_ENDS, *PRETRAINED]))
            raise ValueError(f"front end {name!r} is not one of {known}.")
        front_end, given = FRONT_ENDS[name], inspect.signature(open).parameters
        for option, value in {"weights": weights, **options}.items():
            if value != given[option].default:
                raise ValueError(
                    f"{name} needs no weights and has no {option}: leave"
                    f" {option}={value!r} out."
                )
        return front_end
    entry = PRETRAINED[name]
    # The authors' files have no short context, whatever the name has.
    options["context"] = context or ("full" if compat else entry.context)
    _refuse_options(entry, options)
    checkpoint = weights or entry.hub
    if not checkpoint:
        raise ValueError(
            f"{name} is a kind of model: say which one by weights, a folder or"
            " <owner>/<model> of the hub."
        )
    return _from_checkpoint(entry, checkpoint, options)


def identity(name: str) -> dict[str, Any]:
    """The fields of a `Spec` that the name alone decides.

    Features whose spec differs in one of them were made by another version of jser.
    """
    if name in PRETRAINED:
        entry = PRETRAINED[name]
        return {"name": name, "kind": entry.kind, "version": entry.version}
    spec = dataclasses.asdict(get(name).spec)
    return {
        field: spec[field]
        for field in ("name", "kind", "width", "layers", "frames_per_s", "version")
    }


def _refuse_options(entry: Pretrained, options: dict[str, Any]) -> None:
    from jser.encoders.options import Options

    Options(**options).check(entry.name, entry.model_type)
    if not entry.model_type and options["backend"] != "torch":
        raise ValueError(f"{entry.name} runs in PyTorch only: backend='torch'.")


def _from_checkpoint(
    entry: Pretrained, checkpoint: pathlib.Path | str, options: dict[str, Any]
) -> FrontEnd:
    from jser.encoders import checkpoints, weights
    from jser.encoders.options import Options

    given = pathlib.Path(checkpoint).expanduser()
    if entry.model_type == "facodec":
        model = checkpoints.find_facodec(checkpoint, entry.width)
    else:
        model = checkpoints.find(checkpoint, Options(**options))
    _refuse_other_model(entry, model)
    Options(**options).check(entry.name, model.model_type)
    spec = Spec(
        name=entry.name,
        kind=entry.kind,
        width=model.width,
        layers=model.layers(options["layer"]),
        frames_per_s=model.frames_per_s,
        version=entry.version,
        model=model.folder.resolve().name if model.folder == given else str(checkpoint),
        weights=weights.digest(model.folder, entry.files),
        **options,
    )
    return FrontEnd(spec, functools.partial(_load, model, Options(**options)))


def _refuse_other_model(entry: Pretrained, model: Any) -> None:
    where = model.folder / "config.json"
    if entry.model_type not in ("", model.model_type):
        raise ValueError(
            f"{where}: model_type is {model.model_type!r}; {entry.name} is"
            f" {entry.model_type!r}."
        )
    if entry.kind != model.kind:
        raise ValueError(
            f"{where}: a {model.model_type} reads {model.kind}, {entry.name}"
            f" {entry.kind}."
        )
    if entry.width not in (0, model.width):
        any_size = next(
            p.name
            for p in PRETRAINED.values()
            if p.model_type == entry.model_type and not p.width
        )
        raise ValueError(
            f"{where}: the model is {model.width} wide, {entry.name} {entry.width}."
            f" Models of other sizes have other names: {any_size}."
        )


def _load(model: Any, options: Any) -> Encoder:
    return model.encoder(options)
