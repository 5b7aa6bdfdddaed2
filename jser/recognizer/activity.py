"""Speech activity by energy: where somebody may speak, and where there is a pause.

Silence is what lies 30 dB below the level of its surroundings, as in
`features.trimming`; a long recording is not as loud everywhere, so the level runs with
it. Steady noise, or music, is no silence by that: energy does not know what is said.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from jser.audio import SAMPLE_RATE_HZ

FRAME = SAMPLE_RATE_HZ // 50  # 20 ms.
_STRETCH = 500  # Frames, 10 s, whose level is
_LOUD = 0.98  # this quantile of theirs.
_RELEASE_DB = 1 / 3  # What the level loses in a stretch, where nothing is as loud.
_BELOW_DB = 30.0
_ABSOLUTE_DB = -70.0  # Of full scale; nothing below is speech, whatever is around it.
_LEAST = 1e-12  # Of a mean square; below it all is alike.


def energy_db(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Energy of each 20 ms of a sound, 1.5 MB of them in two hours.

    Args:
      blocks: Float32 at 16 kHz, of any lengths.

    Returns:
      Float32 [frames] in dB of full scale, without what is left at the end, less than a
      frame; and how many samples came.
    """
    frames, rest, samples = [], np.zeros(0, np.float32), 0
    for block in blocks:
        rest, samples = np.concatenate([rest, block]), samples + len(block)
        frames.append(_energy_db(rest[: len(rest) // FRAME * FRAME]))
        rest = rest[len(rest) // FRAME * FRAME :]
    return np.concatenate([np.zeros(0, np.float32), *frames]), samples


def speech(energy: np.ndarray) -> np.ndarray:
    """Which frames of a recording are no silence.

    The level is that of the loudest 2 % of every 10 s. It fades by 2 dB in a minute,
    before and after, so that a pause of minutes is measured by the speech around it.

    Args:
      energy: [frames], as `energy_db` has it.

    Returns:
      Bool [frames].
    """
    starts = range(0, len(energy), _STRETCH)
    level = np.array([_level(energy[i : i + _STRETCH]) for i in starts])
    faded = _RELEASE_DB * np.arange(len(level))
    after = np.maximum.accumulate(level + faded) - faded
    before = (np.maximum.accumulate((level - faded)[::-1]))[::-1] + faded
    level = np.repeat(np.maximum(before, after), _STRETCH)[: len(energy)]
    return energy > _threshold(level)


class Running:
    """`speech` of a sound that is still being made: the level of what came before."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)  # Of a frame.
        self._stretch = np.zeros(0, np.float32)
        self._held = -np.inf

    def hear(self, samples: np.ndarray) -> np.ndarray:
        """Which frames that end within these samples are no silence, bool [frames]."""
        whole = np.concatenate([self._rest, samples])
        stop = len(whole) // FRAME * FRAME
        energy, self._rest = _energy_db(whole[:stop]), whole[stop:]
        self._stretch = np.concatenate([self._stretch, energy])
        level = max(self._held, _level(self._stretch))
        if len(self._stretch) >= _STRETCH:
            self._held = level - _RELEASE_DB
            self._stretch = self._stretch[:0]
        return energy > _threshold(level)


def runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and stop of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _energy_db(samples: np.ndarray) -> np.ndarray:
    frames = samples.reshape(-1, FRAME)
    square = np.einsum("fi,fi->f", frames, frames) / FRAME
    return (10 * np.log10(np.maximum(square, _LEAST))).astype(np.float32)


def _level(energy: np.ndarray) -> float:
    return float(np.quantile(energy, _LOUD)) if len(energy) else -np.inf


def _threshold(level: np.ndarray | float) -> np.ndarray | float:
    return np.maximum(level - _BELOW_DB, _ABSOLUTE_DB)
