"""Sounds as a recognizer takes them: files, their bytes, samples."""

from collections.abc import Iterable
import contextlib
import io
import os

import numpy as np
import soxr

from jser import audio
from jser.recognizer import sound_notes

Sound = os.PathLike | str | bytes | tuple[np.ndarray, int] | audio.Stream


def read_or_why(sound: Sound) -> sound_notes.Read | audio.AudioError:
    """`read`, or why the sound cannot be used."""
    try:
        return read(sound)
    except audio.AudioError as e:
        return e


def read(sound: Sound) -> sound_notes.Read:
    """A sound as samples at 16 kHz, with what is to be said of it.

    Raises:
      AudioError: if it cannot be used.
    """
    if isinstance(sound, tuple):
        return sound_notes.read("", _resampled(*sound))
    if isinstance(sound, audio.Stream):
        return sound_notes.read("", np.concatenate([*sound]), sound.notes)
    name = "" if isinstance(sound, bytes) else os.fspath(sound)
    return sound_notes.read(name, *audio.load_noted(sound))


def opened(
    sound: Sound,
) -> contextlib.AbstractContextManager[Iterable[np.ndarray]]:
    """A sound as blocks at 16 kHz, as often as they are iterated.

    Raises:
      AudioError: if it cannot be used.
    """
    if isinstance(sound, audio.Stream):
        return contextlib.nullcontext(sound)  # Who opened it will close it.
    if isinstance(sound, tuple):
        return contextlib.nullcontext([_resampled(*sound)])
    return audio.Stream(io.BytesIO(sound) if isinstance(sound, bytes) else sound)


def _resampled(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """An array as float32 mono at 16 kHz.

    Raises:
      AudioError: if it is no sound, or shorter than a frame.
    """
    x = np.asarray(samples)
    if x.ndim not in (1, 2) or not x.size:
        raise audio.AudioError("array", "empty", f"it is of shape {x.shape}")
    if np.issubdtype(x.dtype, np.integer):
        half = float(2 ** (8 * x.dtype.itemsize - 1))
        x = x / half - np.issubdtype(x.dtype, np.unsignedinteger)
    elif not np.issubdtype(x.dtype, np.floating):
        raise audio.AudioError("array", "unreadable", f"it is of {x.dtype}")
    x = x.astype(np.float32)
    x = x.mean(axis=1) if x.ndim == 2 else x
    if not np.isfinite(x).all():
        raise audio.AudioError("array", "non-finite", "it holds NaN or infinity")
    if sample_rate_hz != audio.SAMPLE_RATE_HZ:
        x = soxr.resample(x, sample_rate_hz, audio.SAMPLE_RATE_HZ, quality="HQ")
    if len(x) < audio.MIN_SAMPLES:
        raise audio.AudioError("array", "too short", f"{len(x)} samples at 16 kHz")
    return x
