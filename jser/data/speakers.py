"""Each speaker's normalisation statistics, over all of his frames in a split."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from jser.features.store import FeatureSet

_CHUNK = 64  # Utterances read at a time.


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of the columns, float32 [D] or [L, D]."""

    mean: np.ndarray
    deviation: np.ndarray

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Frames [T, D] or [T, L, D], scaled, float16 as they are stored."""
        scaled = (frames.astype(np.float32) - self.mean) / self.deviation
        return scaled.astype(np.float16)


def scalings(
    features: FeatureSet, record: np.ndarray, speakers: Sequence[str]
) -> dict[str, Scaling]:
    """By speaker, what brings his frames to mean 0 and standard deviation 1.

    Args:
      features: Of the utterances; they are read once, a few at a time.
      record: Int [N], each utterance's record.
      speakers: Of each utterance, [N].
    """
    sums: dict[str, _Sums] = {}
    order = np.argsort(record, kind="stable")
    for rows in np.split(order, range(_CHUNK, len(order), _CHUNK)):
        for row, frames in zip(rows, features.read(record[rows]), strict=True):
            sums.setdefault(speakers[int(row)], _Sums(frames[0])).add(frames)
    return {speaker: s.scaling() for speaker, s in sums.items()}


class _Sums:
    """Running sums of frames, from one of them on: a constant column sums to 0."""

    def __init__(self, first: np.ndarray):
        self._first = first.astype(np.float64)
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, frames: np.ndarray) -> None:
        offset = frames - self._first
        self._count += len(frames)
        self._sum = self._sum + offset.sum(axis=0)
        self._squares = self._squares + (offset**2).sum(axis=0)

    def scaling(self) -> Scaling:
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean**2, 0.0)
        deviation = np.sqrt(variance)
        # A column that never changes carries nothing: 1 keeps it finite.
        deviation = np.where(deviation > 1e-6, deviation, 1.0)
        return Scaling(
            (self._first + mean).astype(np.float32), deviation.astype(np.float32)
        )
