"""A model that hears how high a tone is, quick enough for hours of sound."""

from collections.abc import Sequence

import numpy as np

LABELS = ("sad", "neutral", "angry")
HZ = {"sad": 150, "neutral": 300, "angry": 600}
RATE_HZ = 16_000


class Model:
    """By its zero crossings: each label's share of the crossings it should have."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []  # Samples of each sound of each call.

    def __call__(self, samples: Sequence[np.ndarray]) -> np.ndarray:
        assert all(x.dtype == np.float32 and len(x) >= 400 for x in samples)
        self.batches.append([len(x) for x in samples])
        return np.stack([self._one(x) for x in samples])

    @property
    def lengths(self) -> list[int]:
        return [n for batch in self.batches for n in batch]

    @staticmethod
    def _one(x: np.ndarray) -> np.ndarray:
        loud = x[np.abs(x) > 1e-3]
        hz = (
            np.count_nonzero(np.diff(np.signbit(loud)))
            * RATE_HZ
            / 2
            / max(len(loud), 1)
        )
        closeness = [1 / (1 + abs(hz - HZ[label]) / 50) ** 2 for label in LABELS]
        return np.array(closeness) / np.sum(closeness)


def sound(*parts: tuple[str, float]) -> np.ndarray:
    """Tones and silence, one after the other: ("sad", 1.5), ("", 0.5) ...

    Tones are 0.3 loud; silence has some noise.
    """
    rng, made = np.random.default_rng(0), []
    for label, seconds in parts:
        t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        tone = 0.3 * np.sin(2 * np.pi * HZ[label] * t) if label else 0 * t
        made.append(tone + 1e-4 * rng.standard_normal(len(t)))
    return np.concatenate(made).astype(np.float32)


def blocks(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[i : i + size] for i in range(0, len(samples), size)]
