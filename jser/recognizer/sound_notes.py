"""Sounds as they are read, with what makes an answer about them worth less."""

import dataclasses

import numpy as np

from jser import audio

FAR = (
    "far from what the model was trained on: another language, room, microphone, or no"
    " speech"
)
_SHORT_S = 1.0
_QUIET_DB = -50.0  # Of the loudest frames, below full scale.
_FRAME = audio.SAMPLE_RATE_HZ // 40  # 25 ms.
_LOUD = 0.98  # Quantile of the frames that stands for speech.


@dataclasses.dataclass(frozen=True)
class Read:
    """A sound that could be read."""

    name: str
    samples: np.ndarray  # At 16 kHz.
    duration_s: float
    notes: tuple[str, ...]


def read(name: str, samples: np.ndarray) -> Read:
    """Samples at 16 kHz, looked at."""
    seconds = len(samples) / audio.SAMPLE_RATE_HZ
    whole = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.quantile(np.square(whole, dtype=np.float64).mean(axis=1), _LOUD)
    level_db = 10 * np.log10(max(power, 1e-12))
    found = {
        f"short: {seconds:.2f} s, and emotion takes a second or two": (
            seconds < _SHORT_S
        ),
        f"silence: its loudest part is {level_db:.0f} dB below full scale, no speech": (
            level_db < _QUIET_DB
        ),
        "clipped: its peaks are cut off": _is_clipped(samples),
    }
    return Read(name, samples, seconds, tuple(n for n, holds in found.items() if holds))


def _is_clipped(samples: np.ndarray) -> bool:
    level = np.abs(samples)
    peak = float(level.max())
    return bool(peak >= 0.98 and (level >= 0.9995 * peak).mean() >= 0.01)
