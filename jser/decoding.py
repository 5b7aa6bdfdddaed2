"""Decoding of sound files, block by block, and what is wrong with those that fail."""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import pathlib
import shutil
import threading
from typing import BinaryIO

import numpy as np
import soundfile

from jser import containers, sound_headers

BLOCK = 1 << 20  # Samples of all channels that are decoded at a time.
RATES_HZ = (1_000, 768_000)  # Beyond, a header is damaged, and resampling without end.
_CANCELLED = 1e-2  # 20 dB, the power that averaging may take from a sound.
_MPEG_FRAME = 1152
_BY_BYTES = ("OGG", "WAV", "WAVEX")  # `sound_headers` knows better than libsndfile.


class AudioError(ValueError):
    """A sound file that cannot be used; `reason` is one of a few fixed words."""

    def __init__(self, path: os.PathLike | str, reason: str, detail: str):
        super().__init__(f"{path}: {reason}: {detail}")
        self.reason, self.detail = reason, detail


@contextlib.contextmanager
def its_own_fault(path: pathlib.Path, name: str) -> Iterator[None]:
    """Whatever a decoder raises is the fault of this one file, told by its name."""
    try:
        yield
    except AudioError as e:
        raise AudioError(name, e.reason, e.detail) from e.__cause__
    except soundfile.LibsndfileError as e:
        raise AudioError(name, "unreadable", e.error_string) from e
    except Exception as e:
        what = "" if type(e) is ValueError else f"{type(e).__name__}: "
        said = f"{what}{e}".replace(str(path), name)
        raise AudioError(name, "unreadable", said) from e


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a sound that was decoded from one end to the other."""

    rate_hz: int
    samples: int  # Of each channel.
    channel: int | None  # The one to be taken alone; None for the mean of all.


def survey(
    path: pathlib.Path,
    max_hours: float,
    take: Callable[[np.ndarray], None] = lambda _: None,
) -> Survey:
    """Decodes a file and hands the mean of its channels to `take`, block by block.

    Raises:
      AudioError: if the file is missing, truncated, empty or too long, or a sample is
        not finite.
    """
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    if not path.stat().st_size:
        raise AudioError(path, "unreadable", "it is empty, of 0 bytes")
    if what := sound_headers.missing(path):
        raise AudioError(path, "truncated", what)
    samples, finite, power, power_of_mix = 0, True, np.zeros(1), 0.0
    with _open(path) as f:
        rate_hz, (announced, lacking) = f.samplerate, _announced(f)
        for block in _blocks(path, f, max_hours):
            mixed = _mean(block)
            take(mixed)
            samples, finite = samples + len(block), finite and _is_finite(mixed)
            if f.channels > 1:
                power = power + np.square(block, dtype=np.float64).sum(axis=0)
                power_of_mix += np.square(mixed, dtype=np.float64).sum()
    if not samples:
        raise AudioError(path, "empty", "it holds no samples")
    if samples + lacking < announced:
        raise AudioError(
            path, "truncated", f"{samples} of {announced} samples are there"
        )
    if not finite:
        raise _non_finite(path)
    return Survey(rate_hz, samples, _alone(power, power_of_mix))


def mix(samples: np.ndarray) -> tuple[np.ndarray, bool]:
    """The channels [n, channels] float32 of a sound as one, as of a file's.

    Returns:
      Samples [n], and whether the channels cancel, so that they are the loudest's.
    """
    mixed = _mean(samples)
    channel = _alone(*(np.square(x, dtype=np.float64).sum(0) for x in (samples, mixed)))
    return (mixed, False) if channel is None else (samples[:, channel], True)


def _alone(power: np.ndarray, power_of_mix: float) -> int | None:
    """The channel to be taken alone, by the power of each; None for the mean."""
    cancelled = power_of_mix < _CANCELLED * power.max()
    return int(power.argmax()) if cancelled else None


def stated(path: pathlib.Path) -> tuple[int, int]:
    """The rate and the samples of each channel, as libsndfile reads the header."""
    with _Stream(sound_headers.for_libsndfile(path)) as f:
        return f.samplerate, f.frames


def mono(
    path: pathlib.Path, max_hours: float, channel: int | None
) -> Iterator[np.ndarray]:
    """The samples, [n] float32 at a time, of one channel or of the mean of all."""
    with _open(path) as f:
        for block in _blocks(path, f, max_hours):
            yield _mean(block) if channel is None else block[:, channel].copy()


def _mean(block: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # Refused by `survey`.
        return block.mean(axis=1, dtype=np.float32)


class _Stream(soundfile.SoundFile):
    """A file that is read from one end to the other.

    Where it can seek, soundfile does so after each read, after which MP3 goes on with
    other samples; and some codecs cannot.
    """

    def seekable(self) -> bool:
        return False

    def pieces(self) -> Iterator[np.ndarray]:
        """The samples, [n, channels] float32 at a time."""
        size = max(1, BLOCK // self.channels)
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
    least_hz, most_hz = RATES_HZ
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


def _is_finite(samples: np.ndarray) -> bool:
    return bool(np.isfinite(samples).all())


def refuse_non_finite(path: pathlib.Path, samples: np.ndarray) -> None:
    """Raises AudioError if a sample is NaN or infinite."""
    if not _is_finite(samples):
        raise _non_finite(path)


def _non_finite(path: pathlib.Path) -> AudioError:
    what = "it holds NaN, infinite or far too large samples"
    return AudioError(path, "non-finite", what)
