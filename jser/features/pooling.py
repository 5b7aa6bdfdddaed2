"""Pooling over time before frames are stored: "pooled" or "every<n>"."""

from collections.abc import Sequence

import numpy as np

from jser.features.spec import Encoder

POOLED = "pooled"
_EVERY = "every"


def width(width: int, pooling: str) -> int:
    """Width of what frames of `width` are pooled to."""
    return 2 * width if pooling == POOLED else width


def frames_per_s(frames_per_s: float, pooling: str) -> float:
    """Rate of what frames of that rate are pooled to; 0 where they are no steps."""
    return 0.0 if pooling == POOLED else frames_per_s / _stride(pooling)


def pool(frames: np.ndarray, pooling: str) -> np.ndarray:
    """Frames [T, D] or [T, L, D], pooled.

    "pooled" is one frame of the columns' means and then their standard deviations, of
    width 2 D; "every5" the mean of each five frames, the last of which may be fewer.
    """
    if pooling == POOLED:
        mean, deviation = frames.mean(axis=0), frames.std(axis=0)
        return np.concatenate([mean, deviation], axis=-1)[None]
    starts = np.arange(0, len(frames), _stride(pooling))
    count = np.diff(starts, append=len(frames))
    sums = np.add.reduceat(frames, starts, axis=0)
    return sums / count.astype(frames.dtype).reshape(-1, *[1] * (frames.ndim - 1))


def _stride(pooling: str) -> int:
    return int(pooling.removeprefix(_EVERY) or 1)


class PooledEncoder:
    """An encoder whose frames are pooled."""

    def __init__(self, encoder: Encoder, pooling: str):
        self._encoder, self._pooling = encoder, pooling

    @property
    def compiled(self) -> int:
        """Shapes compiled until now."""
        return self._encoder.compiled

    def __call__(self, inputs: Sequence, on_done=None) -> list[np.ndarray]:
        """The pooled frames of each input, in order."""
        return [pool(x, self._pooling) for x in self._encoder(inputs, on_done)]
