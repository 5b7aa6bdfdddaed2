"""Front ends: what turns an utterance's sound or transcript into frames [T, D].

`get` gives those without weights, `open` all of them; docs/encoders.md lists them.
All that decides a front end's numbers is in its `Spec`, which becomes part of the
fingerprint of the features made with it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import inspect
import math
import pathlib
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jser import audio
from jser.features import acoustic
from jser.features.char_ngrams import NGRAM_BUCKETS, char_ngrams

_DTYPES = ("float32", "bfloat16")
_BACKENDS = ("jax", "torch")
_WHISPER_HOP = 320
_FACODEC_HOP = 200


@runtime_checkable
class Encoder(Protocol):
    """Encodes utterances, each independently of the others."""

    @property
    def compiled(self) -> int:
        """Shapes compiled until now; 0 where nothing is."""
        ...

    def __call__(
        self, inputs: Sequence[Any], on_done: Callable[[int], None] | None = None
    ) -> list[np.ndarray]:
        """Frames of each input, in order: [T_i, D], or [T_i, L, D] of all layers.

        Args:
          inputs: Samples at 16 kHz, or transcripts. Hundreds at once are well; what is
            long is cut into windows and what is alike is batched in here.
          on_done: Told how many more inputs are done, now and then.

        Raises:
          ValueError: if an input is too short for a frame, before any is encoded.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """A front end by its name; two specs that are equal make equal features."""

    name: str
    kind: str  # What it reads: "speech" (sound) or "text" (transcript).
    width: int  # D.
    layers: int = 1  # L; frames are [T, L, D] where it is more than one.
    frames_per_s: float = 0.0  # 0 where frames are no steps in time.
    version: int = 1  # Raised when the numbers change.
    # The rest is for front ends with weights.
    model: str = ""  # Name of the hub, or of the folder.
    layer: str = ""
    dtype: str = ""  # Of matrix products.
    weights: str = ""  # Digest of the files.
    backend: str = ""
    compat: bool = False  # As the authors' files are.


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """A spec and how to get its encoder; `load` is where heavy imports belong."""

    spec: Spec
    load: Callable[[], Encoder]


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


def _each(encode: Callable[[Any], np.ndarray]) -> Callable[[], Encoder]:
    return lambda: _Each(encode)


_ALL = (
    FrontEnd(
        Spec(
            name="logmel",
            kind="speech",
            width=acoustic.MELS,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.logmel),
    ),
    FrontEnd(
        Spec(
            name="mfcc",
            kind="speech",
            width=2 * acoustic.CEPSTRA,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.mfcc),
    ),
    FrontEnd(
        Spec(
            name="prosody",
            kind="speech",
            width=acoustic.PROSODY_WIDTH,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.prosody),
    ),
    FrontEnd(
        Spec(name="functionals", kind="speech", width=acoustic.FUNCTIONALS_WIDTH),
        _each(acoustic.functionals),
    ),
    FrontEnd(
        Spec(name="char_ngrams", kind="text", width=NGRAM_BUCKETS),
        _each(char_ngrams),
    ),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A front end whose numbers also depend on a checkpoint."""

    name: str
    kind: str
    hub: str = ""  # The checkpoint, unless another one is given.
    width: int = 0  # That it must have; 0 for any.
    model_type: str = ""  # That config.json must name; a key of `native.LOADERS`.
    files: tuple[str, ...] = ()  # Of the weights, where they have names of their own.
    version: int = 1  # Raised when windows, preprocessing or the port change numbers.


_whisper = functools.partial(Pretrained, kind="speech", model_type="whisper")
_hubert = functools.partial(Pretrained, kind="speech", model_type="hubert")
_wavlm = functools.partial(Pretrained, kind="speech", model_type="wavlm")
_wav2vec2 = functools.partial(Pretrained, kind="speech", model_type="wav2vec2")
_roberta = functools.partial(Pretrained, kind="text", model_type="roberta")
_deberta = functools.partial(Pretrained, kind="text", model_type="deberta-v2")
_facodec = functools.partial(
    Pretrained,
    kind="speech",
    hub="amphion/naturalspeech3_facodec",
    model_type="facodec",
    files=("ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin"),
)
_PRETRAINED = (
    # What the paper's members read.
    _whisper(name="whisper_large_v3", hub="openai/whisper-large-v3", width=1280),
    _hubert(name="hubert_xlarge", hub="facebook/hubert-xlarge-ls960-ft", width=1280),
    _wavlm(name="wavlm_large", hub="microsoft/wavlm-large", width=1024),
    _roberta(name="roberta_large", hub="FacebookAI/roberta-large", width=1024),
    _deberta(name="deberta_xxlarge", hub="microsoft/deberta-v2-xxlarge", width=1536),
    _facodec(name="facodec_prosody", width=256),
    _facodec(name="facodec", width=512),
    # What a laptop can run.
    _whisper(name="whisper_small", hub="openai/whisper-small", width=768),
    _roberta(name="roberta_base", hub="FacebookAI/roberta-base", width=768),
    # Any size of a kind.
    _whisper(name="whisper"),
    _hubert(name="hubert"),
    _wavlm(name="wavlm"),
    _wav2vec2(name="wav2vec2"),
    _roberta(name="roberta"),
    _deberta(name="deberta"),
    # Any model that transformers knows, in PyTorch.
    Pretrained(name="hf_speech", kind="speech"),
    Pretrained(name="hf_text", kind="text"),
)
PRETRAINED = {p.name: p for p in _PRETRAINED}


def open(
    name: str,
    *,
    weights: pathlib.Path | str | None = None,
    layer: str = "last",
    dtype: str = "float32",
    backend: str = "jax",
    compat: bool = False,
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
    _refuse_options(entry, **options)
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


def _refuse_options(
    entry: Pretrained, layer: str, dtype: str, backend: str, compat: bool
) -> None:
    for option, value, known in (
        ("dtype", dtype, _DTYPES),
        ("backend", backend, _BACKENDS),
    ):
        if value not in known:
            raise ValueError(f"{option}={value!r} is not one of {', '.join(known)}.")
    if not entry.model_type and backend != "torch":
        raise ValueError(f"{entry.name} runs in PyTorch only: backend='torch'.")
    if entry.model_type == "facodec":
        for option, value, only in (
            ("layer", layer, "last"),
            # Rounding would choose other entries of the code book.
            ("dtype", dtype, "float32"),
            ("backend", backend, "jax"),
        ):
            if value != only:
                raise ValueError(f"{entry.name} has only {option}={only!r}.")


def _from_checkpoint(
    entry: Pretrained, checkpoint: pathlib.Path | str, options: dict[str, Any]
) -> FrontEnd:
    from jser.encoders import hub, layer_selection, weights

    given = pathlib.Path(checkpoint).expanduser()
    folder = hub.folder(checkpoint, entry.files)
    width, blocks, frames_per_s = _sizes(entry, folder)
    if entry.model_type != "facodec":
        layer_selection.check(options["layer"], blocks)
    spec = Spec(
        name=entry.name,
        kind=entry.kind,
        width=width,
        layers=blocks + 1 if options["layer"] == "all" else 1,
        frames_per_s=frames_per_s,
        version=entry.version,
        model=folder.resolve().name if folder == given else str(checkpoint),
        weights=weights.digest(folder, entry.files),
        **options,
    )
    return FrontEnd(spec, functools.partial(_load, entry, folder, spec))


def _sizes(entry: Pretrained, folder: pathlib.Path) -> tuple[int, int, float]:
    """Width, blocks and frames per second by config.json."""
    if entry.model_type == "facodec":
        return entry.width, 0, audio.SAMPLE_RATE_HZ / _FACODEC_HOP
    from jser.encoders import weights

    config, where = weights.read_config(folder), folder / "config.json"
    found = config.get("model_type")
    if entry.model_type and found != entry.model_type:
        raise ValueError(
            f"{where}: model_type is {found!r}; {entry.name} is {entry.model_type!r}."
        )
    if not entry.model_type:
        from transformers import AutoConfig

        # It knows what each kind of model calls its sizes.
        known = AutoConfig.from_pretrained(folder, local_files_only=True)
        names = ("hidden_size", "num_hidden_layers")
        config = config | {n: getattr(known, n, None) for n in names}
    elif found == "whisper":
        names = ("d_model", "encoder_layers")
    else:
        names = ("hidden_size", "num_hidden_layers")
    width, blocks = (config.get(n) for n in names)
    if not isinstance(width, int) or not isinstance(blocks, int):
        raise ValueError(f"{where}: lacks {' or '.join(names)}. Fetch it again.")
    if entry.width not in (0, width):
        raise ValueError(
            f"{where}: the model is {width} wide, {entry.name} {entry.width}. Models of"
            f" other sizes have other names: {_any_size(entry)}."
        )
    hop = math.prod(config.get("conv_stride") or (0,))
    if found == "whisper":
        hop = _WHISPER_HOP
    speech = entry.kind == "speech" and hop
    return width, blocks, audio.SAMPLE_RATE_HZ / hop if speech else 0.0


def _any_size(entry: Pretrained) -> str:
    return next(
        p.name for p in _PRETRAINED if p.model_type == entry.model_type and not p.width
    )


def _load(entry: Pretrained, folder: pathlib.Path, spec: Spec) -> Encoder:
    from jser.encoders.options import Options

    options = Options(
        layer=spec.layer, dtype=spec.dtype, compat=spec.compat, width=spec.width
    )
    if spec.backend == "torch":
        from jser.encoders import torch_backend

        run = torch_backend.speech if spec.kind == "speech" else torch_backend.text
        return run(folder, options)
    from jser.encoders import families

    return families.LOADERS[entry.model_type](folder, options)
