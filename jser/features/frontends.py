"""Front ends: what turns an utterance's sound or transcript into frames [T, D].

`get` gives those without weights, `open` all of them; docs/encoders.md lists them, and
`feature_names` says how they are named where their frames are cut or pooled.
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

from jser import audio
from jser.feature_names import FeatureName
from jser.features import acoustic, pooling
from jser.features.char_ngrams import NGRAM_BUCKETS, char_ngrams
from jser.features.spec import Encoder, FrontEnd, Spec
from jser.front_end_table import PRETRAINED, WITHOUT_WEIGHTS, Pretrained


class EachAlone:
    """One utterance after the other."""

    compiled = 0

    def __init__(self, encode: Callable[[Any], np.ndarray]):
        self._encode = encode

    def __call__(self, inputs, on_done=None) -> list[np.ndarray]:
        """Frames of each input, in order."""
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
    return FrontEnd(spec, functools.partial(EachAlone, encode), name)


_ALL = (
    _front_end(acoustic.waveform, 1, audio.SAMPLE_RATE_HZ),
    _front_end(acoustic.logmel, acoustic.MELS, acoustic.FRAMES_PER_S),
    _front_end(acoustic.mfcc, 2 * acoustic.CEPSTRA, acoustic.FRAMES_PER_S),
    _front_end(acoustic.prosody, acoustic.PROSODY_WIDTH, acoustic.FRAMES_PER_S),
    _front_end(acoustic.functionals, acoustic.FUNCTIONALS_WIDTH),
    # Version 1 took words apart at their combining marks.
    _front_end(char_ngrams, NGRAM_BUCKETS, version=2),
)
FRONT_ENDS = {f.spec.name: f for f in _ALL}
ARRAY = "array"  # What features of one's own are by; see `arrays`.


def get(name: str) -> FrontEnd:
    """The front end of that name of features, of those without weights.

    Raises:
      ValueError: if there is none, with those there are.
    """
    named = FeatureName.parse(name)
    if named.front_end in PRETRAINED:
        raise ValueError(f"front end {name!r} has weights: open it with `open`.")
    if named.front_end not in FRONT_ENDS:
        raise ValueError(
            f"front end {name!r} is not one of {', '.join(sorted(FRONT_ENDS))}."
        )
    if named.tag or named.layer != "last":
        raise ValueError(
            f"front end {name!r}: {named.front_end} needs no weights and has neither"
            " layers nor tags."
        )
    plain = FRONT_ENDS[named.front_end]
    return plain if name == plain.name else _stored(plain, named)


def _stored(front_end: FrontEnd, named: FeatureName) -> FrontEnd:
    """The front end with its input cut, and its frames pooled, as the name says."""
    spec, load = front_end.spec, front_end.load
    if named.trimmed and spec.kind == "text":
        raise ValueError(f"front end {str(named)!r}: there is no silence in text.")
    if named.pooling:
        load = functools.partial(_load_pooled, load, named.pooling)
    spec = dataclasses.replace(
        spec,
        width=pooling.width(spec.width, named.pooling),
        frames_per_s=pooling.frames_per_s(spec.frames_per_s, named.pooling),
        trimmed=named.trimmed,
        pooling=named.pooling,
    )
    return FrontEnd(spec, load, str(named))


def _load_pooled(load: Callable[[], Encoder], how: str) -> Encoder:
    return pooling.PooledEncoder(load(), how)


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
      name: Of features by one of `FRONT_ENDS` or `PRETRAINED`, as `feature_names` has
        it.
      weights: The checkpoint: a folder, or `<owner>/<model>` on the hub. Some names
        have one of their own.
      layer: Which hidden states are the frames, where the name does not say it: "last",
        a number (0 for what the first block reads), "mean_last_4", a range "2-4", a
        list "1,3,6" or "all" of them.
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
    named = FeatureName.parse(name)
    options: dict[str, Any] = {
        "layer": layer,
        "dtype": dtype,
        "backend": backend,
        "compat": compat,
        "context": context,
    }
    if named.front_end not in PRETRAINED:
        if named.front_end not in FRONT_ENDS:
            known = ", ".join(sorted([*FRONT_ENDS, *PRETRAINED]))
            raise ValueError(f"front end {name!r} is not one of {known}.")
        front_end, given = get(name), inspect.signature(open).parameters
        for option, value in {"weights": weights, **options}.items():
            if value != given[option].default:
                raise ValueError(
                    f"{name} needs no weights and has no {option}: leave"
                    f" {option}={value!r} out."
                )
        return front_end
    entry = PRETRAINED[named.front_end]
    named = _with_layer(named, layer)
    options["layer"] = named.layer
    # The authors' files have no short context, whatever the name has.
    options["context"] = context or ("full" if compat else entry.context)
    _refuse_options(entry, options)
    checkpoint = _checkpoint(entry, weights)
    return _stored(_from_checkpoint(entry, checkpoint, options), named)


def open_parts(
    named: FeatureName,
    *,
    weights: pathlib.Path | str | None = None,
    dtype: str = "float32",
) -> tuple[Spec, Any, Any]:
    """What an encoder that learns is made of.

    Args:
      named: Of a front end with weights; its layer counts.
      weights: As in `open`.
      dtype: As in `open`.

    Returns:
      The spec, the `encoders.checkpoints.Checkpoint` and its `Options`.

    Raises:
      FileNotFoundError, ValueError: as `open`.
    """
    from jser.encoders.options import Options

    entry = PRETRAINED[named.front_end]
    options: dict[str, Any] = {"layer": named.layer, "dtype": dtype}
    options |= {"backend": "jax", "compat": False, "context": entry.context}
    _refuse_options(entry, options)
    checkpoint = _checkpoint(entry, weights)
    spec, model = _spec_of(entry, checkpoint, options)
    return spec, model, Options(**options)


def _checkpoint(
    entry: Pretrained, weights: pathlib.Path | str | None
) -> pathlib.Path | str:
    """The one given, or the hub's of that name."""
    if checkpoint := weights or entry.hub:
        return checkpoint
    raise ValueError(
        f"{entry.name} is a kind of model: say which one by weights, a folder or"
        " <owner>/<model> of the hub."
    )


def _with_layer(named: FeatureName, layer: str) -> FeatureName:
    """The name with the layer that was given apart from it."""
    from jser.encoders import layer_selection

    if layer == "last":
        return named
    if named.layer != "last":
        raise ValueError(
            f"front end {str(named)!r} names its layer: leave layer={layer!r} out."
        )
    return dataclasses.replace(named, layer=layer_selection.canonical(layer))


def identity(name: str) -> dict[str, Any]:
    """The fields of a `Spec` that the name of features alone decides.

    Features whose spec differs in one of them were made by another version of jser.
    Those of a front end with weights were once named by it alone, whatever the layer.
    """
    named = FeatureName.parse(name)
    if named.front_end not in PRETRAINED:
        fields = ("name", "kind", "width", "layers", "frames_per_s", "version")
        spec = dataclasses.asdict(get(name).spec)
        return {f: spec[f] for f in (*fields, "trimmed", "pooling")}
    entry = PRETRAINED[named.front_end]
    return {
        "name": entry.name,
        "kind": entry.kind,
        "version": entry.version,
        "trimmed": named.trimmed,
        "pooling": named.pooling,
    } | ({"layer": named.layer} if named.layer != "last" else {})


def _refuse_options(entry: Pretrained, options: dict[str, Any]) -> None:
    from jser.encoders.options import Options

    Options(**options).check(entry.name, entry.model_type)
    if not entry.model_type and options["backend"] != "torch":
        raise ValueError(f"{entry.name} runs in PyTorch only: backend='torch'.")


def _from_checkpoint(
    entry: Pretrained, checkpoint: pathlib.Path | str, options: dict[str, Any]
) -> FrontEnd:
    from jser.encoders.options import Options

    spec, model = _spec_of(entry, checkpoint, options)
    return FrontEnd(
        spec, functools.partial(_load, model, Options(**options)), entry.name
    )


def _spec_of(
    entry: Pretrained, checkpoint: pathlib.Path | str, options: dict[str, Any]
) -> tuple[Spec, Any]:
    """The spec of a checkpoint's encoder, and the checkpoint."""
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
    return spec, model


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
