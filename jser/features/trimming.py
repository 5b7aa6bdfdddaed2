"""Silence at both ends of a sound."""

import numpy as np

from jser.audio import SAMPLE_RATE_HZ

_BLOCK = SAMPLE_RATE_HZ // 200  # 5 ms.
_FRAME, _HOP = 5, 2  # Blocks.
_LOUD = 0.98  # Quantile of the frames' energies that stands for speech.
_BELOW_DB = 30.0
_FLOOR = 1e-12  # Of a mean square; below it all is alike.


def speech_span(samples: np.ndarray) -> tuple[int, int]:
    """Where the sound begins and ends that is not silence, as samples[start:stop].

    Silence is what lies 30 dB or more below the loudest 2 % of the sound's frames of
    25 ms. At least one frame is left; where all is silent, everything.

    Args:
      samples: At 16 kHz, at least 25 ms of them.
    """
    blocks = samples[: len(samples) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    square = np.einsum("bi,bi->b", blocks, blocks) / _BLOCK
    energy = np.convolve(square, np.full(_FRAME, 1 / _FRAME), "valid")[::_HOP]
    energy = np.maximum(energy, _FLOOR)
    least = np.quantile(energy, _LOUD) * 10 ** (-_BELOW_DB / 10)
    heard = np.flatnonzero(energy > least)
    start, stop = heard[0] * _HOP * _BLOCK, (heard[-1] * _HOP + _FRAME) * _BLOCK
    # What is left behind the last whole frame goes with it.
    return int(start), len(samples) if heard[-1] == len(energy) - 1 else int(stop)
