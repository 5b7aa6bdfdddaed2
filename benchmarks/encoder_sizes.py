"""Encoders in their real sizes: modules of ours, and what they are given.

Nothing here needs PyTorch, nor weights.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
import numpy as np

from jser.encoders import bert, deberta, facodec, roberta, wav2vec, whisper

SAMPLE_RATE_HZ = 16_000
FRAMES_PER_S = 50  # Of encoders of sound.
TOKENS_PER_S = 4  # Of a transcript.
WINDOW_S = 30  # That Whisper reads.
SPOKEN_S = 10  # That the others are given of sound and of text.
CONV = tuple(zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True))
TEXT = ("roberta", "deberta")


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a transformer."""

    width: int
    layers: int
    heads: int
    inner: int
    conv: int = 512  # Of the convolutions of waveforms.

    def flop(self, frames: int) -> float:
        """Of its matrix products, and no others, for an utterance."""
        per_frame = 8 * self.width**2 + 4 * self.width * self.inner
        return self.layers * frames * (per_frame + 4 * frames * self.width)


SIZES = {
    "whisper": Size(1280, 32, 20, 5120),  # Large, version 3.
    "hubert": Size(1024, 24, 16, 4096),  # Large.
    "wavlm": Size(1024, 24, 16, 4096),  # Large.
    "roberta": Size(1024, 24, 16, 4096),  # Large.
    "deberta": Size(1024, 24, 16, 4096),  # Large, version 3.
}
REHEARSAL = Size(32, 2, 4, 48, conv=16)


def seconds(kind: str) -> int:
    """Of an utterance."""
    return WINDOW_S if kind == "whisper" else SPOKEN_S


def frames(kind: str) -> int:
    """Of an utterance, that the encoder makes."""
    return seconds(kind) * (TOKENS_PER_S if kind in TEXT else FRAMES_PER_S)


def inputs(kind: str, batch: int) -> np.ndarray:
    """Spectrograms [B, n, 128], samples [B, n], or tokens [B, T]."""
    rng = np.random.default_rng(0)
    if kind == "whisper":
        return rng.standard_normal((batch, 100 * WINDOW_S, 128), np.float32)
    if kind in TEXT:
        return rng.integers(3, 50_000, (batch, frames(kind)), np.int32)
    # One frame per 320 samples; the first one sees 80 more.
    return rng.standard_normal((batch, SAMPLE_RATE_HZ * SPOKEN_S + 80), np.float32)


def arguments(kind: str, batch: int) -> tuple[np.ndarray, ...]:
    """What the module is called with; every frame is real."""
    given = inputs(kind, batch)
    if kind == "whisper":
        return (given,)
    if kind in TEXT:
        return given, np.ones(given.shape, bool)
    return given, np.full(batch, given.shape[1], np.int32)


def module(kind: str, size: Size, half: jnp.dtype) -> nn.Module:
    """The encoder, which returns its last states; FACodec has one size, in float32."""
    shape = {k: getattr(size, k) for k in ("width", "layers", "heads", "inner")}
    if kind == "facodec":
        return facodec.FaCodec()
    if kind == "whisper":
        positions = WINDOW_S * FRAMES_PER_S
        config = whisper.Config(**shape, bands=128, positions=positions)
        return whisper.WhisperEncoder(config, half, "last")
    if kind == "roberta":
        text: Any = {"vocab": 50_265, "positions": 514, "epsilon": 1e-5, "pad": 1}
        return roberta.Roberta(bert.Config(**shape, **text, types=1), half, "last")
    if kind == "deberta":
        text = {"vocab": 128_100, "positions": 512, "epsilon": 1e-7, "pad": 0}
        relative = {"buckets": 256, "farthest": 512, "conv": 0}
        config = deberta.Config(**shape, **text, **relative)
        return deberta.Deberta(config, half, "last")
    relative = {"buckets": 320, "max_distance": 800} if kind == "wavlm" else {}
    config = wav2vec.Config(
        **shape,
        **relative,
        conv=tuple((size.conv, *geometry) for geometry in CONV),
        conv_bias=kind == "hubert",
        group_norm=False,
        norm_first=True,
        pos_kernel=128,
        pos_groups=16,
        epsilon=1e-5,
        normalise=True,
    )
    return wav2vec.Wav2Vec(config, half, "last")
