"""Any sound file as float32 mono 16 kHz in [-1, 1]."""

import os
import pathlib

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16_000
MIN_SAMPLES = 400  # 25 ms, the first frame of every speech front end.


class AudioError(ValueError):
    """A sound file that cannot be used; `reason` is one of a few fixed words."""

    def __init__(self, path: os.PathLike | str, reason: str, detail: str):
        super().__init__(f"{path}: {reason}: {detail}")
        self.reason = reason


def load(path: os.PathLike | str) -> np.ndarray:
    """Decodes a file: wav, flac, mp3, ogg and whatever else libsndfile reads.

    Channels are averaged, other rates resampled (soxr, high quality). Silence is
    never trimmed and the level never changed.

    Returns:
      Samples [n] float32 at 16 kHz, n >= 400.

    Raises:
      AudioError: "missing", "unreadable", "truncated", "empty", "non-finite" or "too
        short".
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise AudioError(path, "missing", "there is no such file")
    _refuse_truncated_wav(path)
    try:
        with soundfile.SoundFile(path) as f:
            rate_hz, announced = f.samplerate, f.frames
            channels = f.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as e:
        raise AudioError(path, "unreadable", e.error_string) from e
    if not len(channels):
        raise AudioError(path, "empty", "it holds no samples")
    # Decoders of lossy formats know the length only roughly, others to the sample.
    if path.suffix.lower() in (".wav", ".flac") and len(channels) < announced:
        raise AudioError(
            path, "truncated", f"{len(channels)} of {announced} samples are there"
        )
    if not np.isfinite(channels).all():
        raise AudioError(path, "non-finite", "it holds NaN or infinite samples")
    samples = channels.mean(axis=1, dtype=np.float32)
    if rate_hz != SAMPLE_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    if len(samples) < MIN_SAMPLES:
        raise AudioError(
            path,
            "too short",
            f"{len(samples)} samples at 16 kHz; the least is {MIN_SAMPLES} (25 ms)",
        )
    return samples


def seconds(path: os.PathLike | str) -> float | None:
    """The duration by the file's header; None if the header cannot be read."""
    try:
        return round(soundfile.info(path).duration, 4)
    except soundfile.LibsndfileError:
        return None


def _refuse_truncated_wav(path: pathlib.Path) -> None:
    """Libsndfile reads a cut WAV as a shorter one without a word, so look ourselves."""
    with path.open("rb") as f:
        head = f.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    announced = int.from_bytes(head[4:8], "little")
    streamed = announced in (0, 0xFFFFFFFF)  # Written to a pipe: length unknown.
    if not streamed and announced + 8 > (size := path.stat().st_size):
        raise AudioError(
            path, "truncated", f"{size} of {announced + 8} bytes are there"
        )
