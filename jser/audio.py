"""Any sound file as float32 mono 16 kHz in [-1, 1]."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil
import threading
from typing import BinaryIO

from absl import logging
import numpy as np
import soundfile
import soxr

from jser import containers, sound_headers

SAMPLE_RATE_HZ = 16_000
MIN_SAMPLES = 400  # 25 ms, the first frame of every speech front end.
MAX_HOURS = 4.0
_RATES_HZ = (1_000, 768_000)  # Beyond, a header is damaged, and resampling without end.
_BLOCK = 1 << 20  # Samples of all channels that are decoded at a time.
_CANCELLED = 1e-2  # 20 dB, the power that averaging may take from a sound.
_SILENT = 1 / 32768  # The smallest step of 16 bits.
_LOUD = 0.98  # Of full scale, from which a sound can be clipped,
_CLIPPED = 0.01  # if as many of its samples lie at its loudest level.
_MPEG_FRAME = 1152
_BY_BYTES = ("OGG", "WAV", "WAVEX")  # `sound_headers` knows better than libsndfile.


class AudioError(ValueError):
    """A sound file that cannot be used; `reason` is one of a few fixed words."""

    def __init__(self, path: os.PathLike | str, reason: str, detail: str):
        super().__init__(f"{path}: {reason}: {detail}")
        self.reason = reason


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
    path = pathlib.Path(path)
    with _its_own_fault(path):
        samples, rate_hz, cancelled = _decode(path, max_hours)
        if cancelled:
            logging.warning("%s: its channels cancel; the loudest is taken alone", path)
        if rate_hz != SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
            _refuse_non_finite(path, samples)  # It may swing over the largest number.
    if len(samples) < MIN_SAMPLES:
        raise AudioError(
            path,
            "too short",
            f"{len(samples)} samples at 16 kHz; the least is {MIN_SAMPLES} (25 ms)",
        )
    return samples


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
    with _its_own_fault(path):
        samples, rate_hz, cancelled = _decode(path, MAX_HOURS)
    in_container = containers.demuxer(path)
    duration = _rounded(len(samples), rate_hz) if in_container else seconds(path)
    level = np.abs(samples)
    peak = min(float(level.max()), 1.0)  # Lossy codecs overshoot where it was clipped.
    found = {
        "silent": peak <= _SILENT,
        "clipped": peak >= _LOUD and (level >= 0.99995 * peak).mean() >= _CLIPPED,
        "channels cancel": cancelled,
    }
    return duration, tuple(note for note, holds in found.items() if holds)


@contextlib.contextmanager
def _its_own_fault(path: pathlib.Path) -> Iterator[None]:
    """Whatever a decoder raises is the fault of this one file."""
    try:
        yield
    except AudioError:
        raise
    except soundfile.LibsndfileError as e:
        raise AudioError(path, "unreadable", e.error_string) from e
    except Exception as e:
        what = "" if type(e) is ValueError else f"{type(e).__name__}: "
        raise AudioError(path, "unreadable", f"{what}{e}") from e


def seconds(path: os.PathLike | str) -> float | None:
    """The duration by the file's header; None where `load` would not believe it.

    Headers of M4A, MP4 and WebM may not tell, so these are decoded.
    """
    try:
        if containers.demuxer(pathlib.Path(path)):
            samples, rate_hz, _ = _decode(pathlib.Path(path), MAX_HOURS)
            return _rounded(len(samples), rate_hz)
        with _Stream(sound_headers.for_libsndfile(pathlib.Path(path))) as f:
            rate_hz, frames = f.samplerate, f.frames
    except Exception:  # `load` tells which.
        return None
    if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        return None
    return _rounded(frames, rate_hz) if frames <= MAX_HOURS * 3600 * rate_hz else None


def _rounded(samples: int, rate_hz: int) -> float:
    """Seconds, to what a table keeps of them."""
    return round(samples / rate_hz, 4)


class _Stream(soundfile.SoundFile):
    """A file that is read from one end to the other.

    Where it can seek, soundfile does so after each read, after which MP3 goes on with
    other samples; and some codecs cannot.
    """

    def seekable(self) -> bool:
        return False

    def pieces(self) -> Iterator[np.ndarray]:
        """The samples, [n, channels] float32 at a time."""
        size = max(1, _BLOCK // self.channels)
        while len(piece := self.read(size, dtype="float32", always_2d=True)):
            yield piece


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[_Stream | containers.Stream]:
    """The file; from a pipe where libsndfile would read no further than it guesses."""
    if form := containers.demuxer(path):
        with containers.Stream(path, form) as f:
            yield f
        return
    if not sound_headers.is_mpeg_of_unknown_length(path):
        with _Stream(sound_headers.for_libsndfile(path)) as f:
            yield f
        return
    reading, writing = os.pipe()
    with path.open("rb") as source:
        feeder = threading.Thread(target=_feed, args=(source, writing))
        feeder.start()
        try:
            with _Stream(reading, closefd=False) as f:
                yield f
        finally:
            os.close(reading)  # Which ends the feeder, if not all was read.
            feeder.join()


def _feed(source: BinaryIO, descriptor: int) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as pipe:
        shutil.copyfileobj(source, pipe)


def _decode(path: pathlib.Path, max_hours: float) -> tuple[np.ndarray, int, bool]:
    """Samples [n] float32 of the channels as one, their rate, and if channels cancel.

    Raises:
      AudioError: if the file is missing, truncated, empty or too long, or a sample is
        not finite.
    """
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    if what := sound_headers.missing(path):
        raise AudioError(path, "truncated", what)
    mixed = [np.zeros(0, np.float32)]
    power, power_of_mix = np.zeros(1), 0.0
    with _open(path) as f:
        rate_hz, (announced, lacking) = f.samplerate, _announced(f)
        for block in _blocks(path, f, max_hours):
            with np.errstate(over="ignore", invalid="ignore"):  # Refused by `load`.
                mixed.append(block.mean(axis=1, dtype=np.float32))
            if f.channels > 1:
                power = power + np.square(block, dtype=np.float64).sum(axis=0)
                power_of_mix += np.square(mixed[-1], dtype=np.float64).sum()
    samples = np.concatenate(mixed)
    if not len(samples):
        raise AudioError(path, "empty", "it holds no samples")
    if len(samples) + lacking < announced:
        raise AudioError(
            path, "truncated", f"{len(samples)} of {announced} samples are there"
        )
    cancelled = power_of_mix < _CANCELLED * power.max()
    if cancelled:
        with _open(path) as f:
            loudest = [b[:, power.argmax()] for b in _blocks(path, f, max_hours)]
        samples = np.concatenate(loudest)
    _refuse_non_finite(path, samples)
    return samples, rate_hz, bool(cancelled)


def _announced(f: _Stream | containers.Stream) -> tuple[int, int]:
    """Samples by the header, and how many may lack; 0 where it does not say."""
    if isinstance(f, containers.Stream):  # It looks itself.
        return 0, 0
    if f.format in _BY_BYTES or f.frames >= 1 << 62:
        return 0, 0
    return f.frames, _MPEG_FRAME if f.format == "MP3" else 1


def _blocks(
    path: pathlib.Path, f: _Stream | containers.Stream, max_hours: float
) -> Iterator[np.ndarray]:
    """The samples, [n, channels] float32 at a time."""
    least_hz, most_hz = _RATES_HZ
    if not least_hz <= f.samplerate <= most_hz:
        allowed = f"it must be from {least_hz} to {most_hz}"
        raise AudioError(path, "sample rate", f"{f.samplerate} Hz; {allowed}")
    left = max_hours * 3600 * f.samplerate
    for block in f.pieces():
        left -= len(block)
        if left < 0:
            raise AudioError(
                path, "too long", f"more than {max_hours:g} hours of sound"
            )
        yield block


def _refuse_non_finite(path: pathlib.Path, samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise AudioError(
            path, "non-finite", "it holds NaN, infinite or far too large samples"
        )
