"""Any sound file as float32 mono 16 kHz in [-1, 1]."""

import collections
from collections.abc import Callable, Iterable, Iterator
import contextlib
import io
import os
import pathlib
import tempfile

from absl import logging
import numpy as np
import soxr

from jser import containers, decoding, files
from jser.decoding import AudioError

SAMPLE_RATE_HZ = 16_000
MIN_SAMPLES = 400  # 25 ms, the first frame of every speech front end.
MAX_HOURS = 4.0
_SILENT = 1 / 32768  # The smallest step of 16 bits.
_LOUD = 0.98  # Of full scale, from which a sound can be clipped,
_CLIPPED = 0.01  # if as many of its samples lie at its loudest level,
_NEAR = 0.99995  # or this near to it.
_CANCEL = "channels cancel"


def load(path: os.PathLike | str, *, max_hours: float = MAX_HOURS) -> np.ndarray:
    """Decodes a file: wav, flac, mp3, ogg and whatever else libsndfile reads.

    M4A, MP4 and WebM are read by PyAV, where it is installed. Channels are averaged;
    where that would take more than 20 dB from the loudest, as when one is the inverted
    copy of another, the loudest is taken alone, with a warning. Other rates are
    resampled (soxr, high quality). Silence is never trimmed and the level never
    changed.

    Args:
      path: The file.
      max_hours: The longest sound; beyond, decoding ends.

    Returns:
      Samples [n] float32 at 16 kHz, n >= 400.

    Raises:
      AudioError: "missing", "unreadable", "truncated", "empty", "non-finite", "too
        short", "too long" or "sample rate".
    """
    return _load(pathlib.Path(path), str(path), max_hours)[0]


def load_bytes(
    data: bytes, name: str = "", *, max_hours: float = MAX_HOURS
) -> np.ndarray:
    """Decodes the content of a file, such as an upload, as `load` does.

    Args:
      data: The bytes; what they are is told by themselves alone.
      name: What messages call it; it never becomes a path.
      max_hours: The longest sound.

    Returns:
      Samples [n] float32 at 16 kHz, n >= 400.

    Raises:
      AudioError: as `load` does.
    """
    with _temporary([data]) as path:
        return _load(path, name or "the sound", max_hours)[0]


def load_noted(
    source: os.PathLike | str | bytes,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The samples of a file, or of its bytes, with the notes that `examine` gives.

    Raises:
      AudioError: as `load` does.
    """
    if isinstance(source, bytes):
        with _temporary([source]) as path:
            return _load(path, "the sound", MAX_HOURS)
    return _load(pathlib.Path(source), os.fspath(source), MAX_HOURS)


def _load(
    path: pathlib.Path, name: str, max_hours: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    with decoding.its_own_fault(path, name):
        samples, rate_hz, notes = _decode(path, max_hours)
        _tell(name, notes)
        if rate_hz != SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
            # It may swing over the largest number.
            decoding.refuse_non_finite(path, samples)
        _refuse_short(path, len(samples))
    return samples, notes


def mix(samples: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples [n, channels] float32 as one channel, as `load` makes it of a file's.

    Returns:
      Samples [n] of the same rate, and the notes that `examine` gives.
    """
    mixed, cancelled = decoding.mix(samples)
    return mixed, _Levels([mixed]).notes(cancelled)


class Stream:
    """A sound as blocks of float32 mono 16 kHz, as often as it is iterated.

    They are the samples of `load`, with a few seconds of them in memory at a time. The
    whole is decoded once when it is opened, so that a file that cannot be used is
    refused then, and not after hours of work on what came before the fault. A sound
    that is no file, such as standard input, is copied to a temporary one first.

    Attributes:
      samples: How many there are, at 16 kHz.
      notes: What `examine` gives.
    """

    def __init__(
        self,
        sound: os.PathLike | str | io.BufferedIOBase,
        *,
        name: str = "",
        block_s: float = 10.0,
        max_hours: float = MAX_HOURS,
    ):
        """Opens a sound.

        Args:
          sound: A path, or a file opened for reading bytes, read from where it stands.
          name: What messages call it; by default its path.
          block_s: Length of the blocks; the last may be shorter.
          max_hours: The longest sound.

        Raises:
          AudioError: as `load` does.
        """
        self._kept = contextlib.ExitStack()  # The copy, for as long as this lives.
        if isinstance(sound, str | os.PathLike):
            self._path = pathlib.Path(sound)
        else:
            pieces = iter(lambda: sound.read(decoding.BLOCK), b"")
            self._path = self._kept.enter_context(_temporary(pieces))
            name = name or "the sound"
        self._name = name or str(sound)
        self._size = max(1, round(block_s * SAMPLE_RATE_HZ))
        self._max_hours = max_hours
        try:
            with decoding.its_own_fault(self._path, self._name):
                self._found, self.notes = _survey(self._path, max_hours)
                ratio = SAMPLE_RATE_HZ / self._found.rate_hz
                self.samples = int(self._found.samples * ratio + 0.5)  # As soxr does.
                _refuse_short(self._path, self.samples)
        except AudioError:
            self.close()
            raise

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Removes the temporary file, if there is one."""
        self._kept.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        with decoding.its_own_fault(self._path, self._name):
            kept, held = [], 0
            for block in self._resampled():
                decoding.refuse_non_finite(self._path, block)
                kept.append(block)
                held += len(block)
                if held >= self._size:
                    whole = np.concatenate(kept)
                    stop = held - held % self._size
                    yield from whole[:stop].reshape(-1, self._size)
                    kept, held = [whole[stop:].copy()], held - stop
            if held:
                yield np.concatenate(kept)

    def _resampled(self) -> Iterator[np.ndarray]:
        found = self._found
        blocks = decoding.mono(self._path, self._max_hours, found.channel)
        if found.rate_hz == SAMPLE_RATE_HZ:
            yield from blocks
            return
        stream = soxr.ResampleStream(found.rate_hz, SAMPLE_RATE_HZ, 1, quality="HQ")
        for block in blocks:
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


@contextlib.contextmanager
def _temporary(pieces: Iterable[bytes]) -> Iterator[pathlib.Path]:
    """A file of these bytes that only this user can read, until it is left."""
    with tempfile.NamedTemporaryFile(prefix="jser-") as f:
        with files.writing(f.name):
            f.writelines(pieces)
            f.flush()
        yield pathlib.Path(f.name)


def _tell(name: str, notes: tuple[str, ...]) -> None:
    if _CANCEL in notes:
        logging.warning("%s: its channels cancel; the loudest is taken alone", name)


def examine(path: os.PathLike | str) -> tuple[float | None, tuple[str, ...]]:
    """What a table keeps of a sound, decoded once.

    Returns:
      The duration, as `seconds` has it, and notes, which a person should know before it
      is taken for speech: any of "silent" (none leaves the smallest step of 16 bits),
      "clipped" (1 % of the samples or more lie at the loudest level, and that is at
      least 0.98 of full scale) and "channels cancel" (the loudest is taken alone).

    Raises:
      AudioError: as `load` does, but for the shortest length.
    """
    path = pathlib.Path(path)
    with decoding.its_own_fault(path, str(path)):
        samples, rate_hz, notes = _decode(path, MAX_HOURS)
    in_container = containers.demuxer(path)
    duration = _rounded(len(samples), rate_hz) if in_container else seconds(path)
    return duration, notes


class _Levels:
    """How loud a sound is at its loudest, and how often; it may come in blocks."""

    def __init__(self, blocks: Iterable[np.ndarray] = ()):
        self._samples, self._peak = 0, 0.0
        # By level, near the peak: fewer than a thousand, as float32 has no more there.
        self._count: collections.Counter[float] = collections.Counter()
        for block in blocks:
            self.hear(block)

    def hear(self, block: np.ndarray) -> None:
        """Takes the samples [n] that come next."""
        # Lossy codecs overshoot where it was clipped.
        level = np.minimum(np.abs(block), np.float32(1))
        self._samples += len(block)
        self._peak = max(self._peak, float(level.max(initial=0)))
        near = np.float32(_NEAR * self._peak)
        values, counts = np.unique(level[level >= near], return_counts=True)
        for x, n in zip(values.tolist(), counts.tolist(), strict=True):
            self._count[x] += n
        for x in [x for x in self._count if x < near]:
            del self._count[x]

    def notes(self, cancelled: bool) -> tuple[str, ...]:
        """What a person should know of the sound, as `examine` has it."""
        share = self._count.total() / self._samples
        found = {
            "silent": self._peak <= _SILENT,
            "clipped": self._peak >= _LOUD and share >= _CLIPPED,
            _CANCEL: cancelled,
        }
        return tuple(note for note, holds in found.items() if holds)


def seconds(path: os.PathLike | str) -> float | None:
    """The duration by the file's header; None where `load` would not believe it.

    Headers of M4A, MP4 and WebM may not tell, so these are decoded.
    """
    try:
        if containers.demuxer(pathlib.Path(path)):
            found = decoding.survey(pathlib.Path(path), MAX_HOURS)
            return _rounded(found.samples, found.rate_hz)
        rate_hz, frames = decoding.stated(pathlib.Path(path))
    except Exception:  # `load` tells which.
        return None
    if not decoding.RATES_HZ[0] <= rate_hz <= decoding.RATES_HZ[1]:
        return None
    return _rounded(frames, rate_hz) if frames <= MAX_HOURS * 3600 * rate_hz else None


def _rounded(samples: int, rate_hz: int) -> float:
    """Seconds, to what a table keeps of them."""
    return round(samples / rate_hz, 4)


def _survey(
    path: pathlib.Path,
    max_hours: float,
    take: Callable[[np.ndarray], None] = lambda _: None,
) -> tuple[decoding.Survey, tuple[str, ...]]:
    """`decoding.survey`, and what `examine` notes, a block in memory at a time."""
    levels = _Levels()

    def hear(block: np.ndarray) -> None:
        levels.hear(block)
        take(block)

    found = decoding.survey(path, max_hours, hear)
    if found.channel is None:
        return found, levels.notes(cancelled=False)
    alone = decoding.mono(path, max_hours, found.channel)
    return found, _Levels(alone).notes(cancelled=True)


def _decode(
    path: pathlib.Path, max_hours: float
) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Samples [n] float32 of the channels as one, their rate, and notes.

    Raises:
      AudioError: as `decoding.survey` does.
    """
    mixed: list[np.ndarray] = []
    found, notes = _survey(path, max_hours, mixed.append)
    if found.channel is None:
        return np.concatenate(mixed), found.rate_hz, notes
    loudest = np.concatenate([*decoding.mono(path, max_hours, found.channel)])
    return loudest, found.rate_hz, notes


def _refuse_short(path: pathlib.Path, samples: int) -> None:
    if samples < MIN_SAMPLES:
        raise AudioError(
            path,
            "too short",
            f"{samples} samples at 16 kHz; the least is {MIN_SAMPLES} (25 ms)",
        )
