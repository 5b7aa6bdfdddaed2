"""Sounds as a recognizer takes them: files, their bytes, samples."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import io
import os
import pathlib

from absl import logging
import numpy as np
import soxr

from jser import audio
from jser.corpora.draft import sound_files
from jser.recognizer import sound_notes

Sound = os.PathLike | str | bytes | tuple[np.ndarray, int] | audio.Stream
AT_ONCE = 64  # Sounds that are in memory at a time.


def listed(sounds: Sequence[Sound] | pathlib.Path) -> Sequence[Sound]:
    """Several sounds, or all sound files of a folder."""
    if isinstance(sounds, str):
        raise TypeError(f"{sounds!r}: give a list of sounds, or a pathlib.Path.")
    if not isinstance(sounds, pathlib.Path):
        return sounds
    if not sounds.is_dir():
        raise ValueError(f"{sounds}: no such folder. Give one, or a list of sounds.")
    return sound_files(sounds)


def read_or_why(sound: Sound) -> sound_notes.Read | audio.AudioError:
    """`read`, or why the sound cannot be used."""
    try:
        return read(sound)
    except audio.AudioError as e:
        return e


def usable(sounds: Sequence[Sound], what_for: str) -> Iterator[list[np.ndarray]]:
    """The samples of those that can be used, `AT_ONCE` at most at a time.

    The others are left out, with a warning that says why, and `what_for`.
    """
    for start in range(0, len(sounds), AT_ONCE):
        samples = []
        for sound in map(read_or_why, sounds[start : start + AT_ONCE]):
            if isinstance(sound, audio.AudioError):
                logging.warning("%s: left out: %s", what_for, sound)
            else:
                samples.append(sound.samples)
        if samples:
            yield samples


def read(sound: Sound) -> sound_notes.Read:
    """A sound as samples at 16 kHz, with what is to be said of it.

    Raises:
      AudioError: if it cannot be used.
    """
    if isinstance(sound, tuple):
        return sound_notes.read("", *_of_array(*sound))
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
        return contextlib.nullcontext([_of_array(*sound)[0]])
    return audio.Stream(io.BytesIO(sound) if isinstance(sound, bytes) else sound)


def _of_array(
    samples: np.ndarray, sample_rate_hz: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """An array [n] or [n, channels] as float32 mono at 16 kHz, with notes.

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
    x, notes = audio.mix(x.astype(np.float32).reshape(len(x), -1))
    if not np.isfinite(x).all():
        raise audio.AudioError("array", "non-finite", "it holds NaN or infinity")
    if sample_rate_hz != audio.SAMPLE_RATE_HZ:
        x = soxr.resample(x, sample_rate_hz, audio.SAMPLE_RATE_HZ, quality="HQ")
    if len(x) < audio.MIN_SAMPLES:
        of = f"{len(x)} samples at 16 kHz, of shape {np.shape(samples)}"
        raise audio.AudioError("array", "too short", f"{of}; it is [n, channels]")
    return x, notes
