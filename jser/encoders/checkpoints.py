"""Checkpoints: which family one is of, its sizes, and the encoder that it makes."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
import operator
import pathlib
from typing import Any

import numpy as np

from jser import audio, files
from jser.encoders import facodec, families, hub, layer_selection, weights
from jser.encoders.batching import BatchedEncoder
from jser.encoders.options import Options

_WHISPER_HOP = 320
_SIZES = ("hidden_size", "num_hidden_layers")
_SIZES_OF = {"whisper": ("d_model", "encoder_layers")}


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A pretrained encoder: called with utterances, it returns their frames.

    Each utterance's frames depend neither on the others nor on their order. Hundreds at
    once are well: what is long is cut into windows, what is alike is batched in here.

    Attributes:
      kind: What it reads: "speech" (sound) or "text" (transcripts).
      width: D.
      layers: L; frames are [T, L, D] where it is more than one.
      frames_per_s: 0 for text, whose frames are tokens.
      sampling_rate_hz: Of the sound that it reads; 0 for text.
    """

    kind: str
    width: int
    layers: int
    frames_per_s: float
    sampling_rate_hz: int
    _batched: BatchedEncoder = dataclasses.field(repr=False)

    @property
    def compiled(self) -> int:
        """Shapes compiled until now; 0 where nothing is."""
        return self._batched.compiled

    def __call__(
        self,
        inputs: Sequence[Any] | np.ndarray,
        on_done: Callable[[int], None] | None = None,
    ) -> list[np.ndarray]:
        """Frames of each input, in order: [T_i, D] or [T_i, L, D] float32.

        Args:
          inputs: Samples [n] of any float type, mono at 16 kHz; or transcripts.
          on_done: Told how many more inputs are done, now and then.

        Raises:
          ValueError: if an input is of another kind or too short for a frame, before
            any is encoded.
        """
        if isinstance(inputs, str):
            raise ValueError("one transcript: give a list of them.")
        for i, x in enumerate(inputs):
            self._check(i, x)
        return self._batched(inputs, on_done)

    def _check(self, i: int, x: Any) -> None:
        if self.kind == "text":
            if not isinstance(x, str):
                raise ValueError(
                    f"input {i} is a {type(x).__name__}; this encoder reads text, each"
                    " a string."
                )
            return
        what = type(x).__name__
        if isinstance(x, np.ndarray):
            if x.ndim == 1 and np.issubdtype(x.dtype, np.floating):
                return
            what = f"{x.dtype} array {x.shape}"
        raise ValueError(
            f"input {i} is a {what}; this encoder reads sound, each a float array [n],"
            f" in [-1, 1], mono at {self.sampling_rate_hz} Hz."
        )


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its config.json; its weights are not read yet."""

    folder: pathlib.Path
    model_type: str
    kind: str
    width: int
    blocks: int
    frames_per_s: float

    def encoder(self, options: Options) -> Encoder:
        """Reads the weights.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if the model is not supported or its weights do not fit it.
          ModuleNotFoundError: if the backend is torch, which is not installed.
        """
        if options.backend == "torch":
            from jser.encoders import torch_backend

            speech = self.kind == "speech"
            load: Any = torch_backend.speech if speech else torch_backend.text
        else:
            load = families.FAMILIES[self.model_type].load
        if self.model_type == "facodec":
            load = functools.partial(load, timbre=self.width > facodec.WIDTH)
        return Encoder(
            kind=self.kind,
            width=self.width,
            layers=self.layers(options.layer),
            frames_per_s=self.frames_per_s,
            sampling_rate_hz=audio.SAMPLE_RATE_HZ if self.kind == "speech" else 0,
            _batched=load(self.folder, options),
        )

    def layers(self, layer: str) -> int:
        """How many hidden states that choice of them returns."""
        return layer_selection.count(layer, self.blocks)


def find(checkpoint: pathlib.Path | str, options: Options) -> Checkpoint:
    """The checkpoint of a folder or a hub's name, fetched if it is nowhere here.

    Raises:
      FileNotFoundError: if it is not here, with the command that fetches it.
      ValueError: if there is no port of its kind, or no such layer.
    """
    given = pathlib.Path(checkpoint).expanduser()
    if str(checkpoint) == facodec.HUB or (given / facodec.FILES[0]).is_file():
        return find_facodec(checkpoint, 2 * facodec.WIDTH)
    folder = hub.folder(checkpoint)
    config, where = weights.read_config(folder), folder / "config.json"
    model_type = str(config.get("model_type"))
    known = families.FAMILIES.get(model_type)
    if known is None:
        if options.backend != "torch":
            ported = ", ".join(sorted(families.FAMILIES))
            raise ValueError(
                f"{where}: model_type is {model_type!r}, not one of {ported}."
                " transformers' own code runs it: backend='torch'."
            )
        config |= _by_transformers(folder)
    names = _SIZES_OF.get(model_type, _SIZES)
    width, blocks = (config.get(name) for name in names)
    if not isinstance(width, int) or not isinstance(blocks, int):
        raise ValueError(f"{where}: lacks {' or '.join(names)}. Fetch it again.")
    layer_selection.check(options.layer, blocks)
    kind = known.kind if known else "speech" if "conv_stride" in config else "text"
    with files.reading(where, weights.FETCH):
        hop = math.prod(map(operator.index, config.get("conv_stride") or (0,)))
    hop = _WHISPER_HOP if model_type == "whisper" else hop
    speech = kind == "speech" and hop
    frames_per_s = audio.SAMPLE_RATE_HZ / hop if speech else 0.0
    return Checkpoint(folder, model_type, kind, width, blocks, frames_per_s)


def find_facodec(checkpoint: pathlib.Path | str, width: int) -> Checkpoint:
    """`find` of FACodec's two files: 256 columns of prosody, or 512 with timbre."""
    folder = hub.folder(checkpoint, facodec.FILES)
    for name in facodec.FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name}: no such file. Fetch it: hf download {facodec.HUB}"
                f" {' '.join(facodec.FILES)} --local-dir {folder}"
            )
    return Checkpoint(folder, "facodec", "speech", width, 0, facodec.FRAMES_PER_S)


def _by_transformers(folder: pathlib.Path) -> dict[str, Any]:
    """The sizes of any model, since it knows what each kind calls them."""
    from transformers import AutoConfig

    with files.reading(folder / "config.json", weights.FETCH):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return {name: getattr(config, name, None) for name in _SIZES}
