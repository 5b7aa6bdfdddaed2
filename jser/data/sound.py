"""Augmentation of sound in training, before an encoder hears it. Length is kept."""

from collections.abc import Callable
import io
from typing import NamedTuple

import numpy as np
from scipy import signal
import soundfile

from jser import audio
from jser.config import Augment

_VOICE_SNR_DB = (10.0, 20.0)
_NOISE_SNR_DB = (5.0, 30.0)
_NOISE_SLOPE_DB_PER_OCTAVE = (-6.0, 0.0)  # From brown to white.
_NOISE_FLAT_BELOW_HZ = 50.0  # Else nearly all of brown noise is too low to be heard.
_RT60_S = (0.1, 0.6)
_DIRECT_TO_REVERBERANT_DB = (0.0, 10.0)
_TELEPHONE_SHARE = 0.5
_TELEPHONE_HZ = (300.0, 3400.0)
_LOW_EDGE_HZ = (50.0, 300.0)
_HIGH_EDGE_HZ = (2500.0, 7000.0)
_BAND_ORDER = 4
_CODEC_BLOCK = 4096  # Samples.


class _Codec(NamedTuple):
    """A lossy codec as libsndfile names it."""

    container: str
    subtype: str
    rate_hz: int
    compression: float | None = None  # From 0, the best, to 1, the smallest.


_CODECS = (
    _Codec("WAV", "ULAW", 8_000),  # G.711, 64 kbit/s.
    _Codec("WAV", "ALAW", 8_000),
    _Codec("WAV", "GSM610", 8_000),  # Full rate, 13 kbit/s.
    _Codec("OGG", "VORBIS", 16_000, 1.0),  # About 35 kbit/s.
    _Codec("OGG", "OPUS", 16_000, 0.97),  # About 17 kbit/s; the slowest.
    _Codec("MP3", "MPEG_LAYER_III", 16_000, 0.9),  # About 30 kbit/s.
)


def disturbed(
    samples: np.ndarray,
    other: Callable[[], np.ndarray],
    c: Augment,
    rng: np.random.Generator,
) -> np.ndarray:
    """Sound as it might have been recorded elsewhere, each effect in its share of them.

    The order is that of the way from mouth to file: another voice, a room, background
    noise, a band, a codec. Whichever are on, `rng` moves on alike, and each effect has
    the same numbers.

    Args:
      samples: Float [n], n >= 400, mono, 16 kHz; they may exceed [-1, 1].
      other: Reads another utterance, float [m]; where it is heard.
      c: The shares.
      rng: Source of randomness; its state alone decides.

    Returns:
      Float32 [n], in time with `samples`.
    """
    effects = (
        (c.other_voice, lambda x, rng: _with_voice(x, other(), rng)),
        (c.room, _in_room),
        (c.background, _in_noise),
        (c.band, _in_band),
        (c.codec, _coded),
    )
    # Not rng.spawn, whose children do not depend on how far `rng` has moved.
    seeds = rng.integers(2**63, size=len(effects))
    x = samples.astype(np.float64)
    for (share, effect), seed in zip(effects, seeds, strict=True):
        own = np.random.default_rng(int(seed))
        if own.random() < share:
            x = effect(x, own)
    return x.astype(np.float32)


def _with_voice(
    x: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Interfering speech: another utterance beneath."""
    return _mixed(x, _part(other, len(x), rng), rng.uniform(*_VOICE_SNR_DB))


def together(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two utterances at once, as loud as each other; of the length of the first."""
    return _mixed(x, _part(other, len(x), rng), 0.0)


def _part(other: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Float64 [n] of an utterance from a random place, repeated if it is shorter."""
    m = len(other)
    start = rng.integers(m - n + 1 if m > n else m)
    return other.astype(np.float64).take(np.arange(start, start + n), mode="wrap")


def _in_noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Additive noise, between white and brown."""
    slope = rng.uniform(*_NOISE_SLOPE_DB_PER_OCTAVE)
    snr_db = rng.uniform(*_NOISE_SNR_DB)
    return _mixed(x, _noise(len(x), slope, rng), snr_db)


def _mixed(x: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Signal and noise at a signal-to-noise ratio, of the powers of all samples.

    To silence, or of silent noise, nothing is added.
    """
    power = _power(noise)
    if not power:
        return x
    return x + noise * np.sqrt(_power(x) / power * 10 ** (-snr_db / 10))


def _noise(n: int, slope_db_per_octave: float, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise [n] whose spectrum falls by a slope; flat below 50 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f_hz = np.fft.rfftfreq(n, 1 / audio.SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(f_hz / _NOISE_FLAT_BELOW_HZ, 1))
    return np.fft.irfft(spectrum * 10 ** (slope_db_per_octave * octaves / 20), n)


def _in_room(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reverberation, by convolution with an impulse response; of the same power."""
    rt60_s = rng.uniform(*_RT60_S)
    response = _impulse_response(rt60_s, rng.uniform(*_DIRECT_TO_REVERBERANT_DB), rng)
    wet = signal.fftconvolve(x, response)[: len(x)]
    power = _power(wet)
    return wet * np.sqrt(_power(x) / power) if power else wet


def _impulse_response(
    rt60_s: float, direct_to_reverberant_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Impulse response of a room: the direct sound, 1, and a diffuse tail.

    The tail is white noise that decays exponentially (Polack's model) by 60 dB within
    the reverberation time RT60, where it is cut.
    """
    t_s = np.arange(1, round(rt60_s * audio.SAMPLE_RATE_HZ)) / audio.SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(t_s)) * 10 ** (-3 * t_s / rt60_s)
    energy = 10 ** (-direct_to_reverberant_db / 10)
    return np.append(1.0, tail * np.sqrt(energy / np.sum(np.square(tail))))


def _in_band(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Band-pass (Butterworth, zero-phase), a telephone's or between random edges."""
    edges_hz = rng.uniform(*_LOW_EDGE_HZ), rng.uniform(*_HIGH_EDGE_HZ)
    if rng.random() < _TELEPHONE_SHARE:
        edges_hz = _TELEPHONE_HZ
    sos = signal.butter(
        _BAND_ORDER, edges_hz, "bandpass", fs=audio.SAMPLE_RATE_HZ, output="sos"
    )
    return signal.sosfiltfilt(sos, x)


def _coded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Codec distortion, by one of a few codecs of telephones and of the web."""
    return _through(_CODECS[rng.integers(len(_CODECS))], x)


def _through(codec: _Codec, x: np.ndarray) -> np.ndarray:
    """What a codec leaves of a sound; one above full scale is lowered on the way."""
    ratio = audio.SAMPLE_RATE_HZ // codec.rate_hz
    sent = signal.resample_poly(x, 1, ratio)
    scale = max(1.0, np.abs(sent).max())
    received = scale * _decoded(codec, _encoded(codec, sent / scale), len(sent))
    return signal.resample_poly(received, ratio, 1)[: len(x)]


def _encoded(codec: _Codec, samples: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        samplerate=codec.rate_hz,
        channels=1,
        format=codec.container,
        subtype=codec.subtype,
        compression_level=codec.compression,
    ) as f:
        # Vorbis takes all of a block onto the stack (libsndfile #1095): crashes.
        for start in range(0, len(samples), _CODEC_BLOCK):
            f.write(samples[start : start + _CODEC_BLOCK])
    file.seek(0)
    return file


def _decoded(codec: _Codec, file: io.BytesIO, n: int) -> np.ndarray:
    """The first n samples; codecs of fixed frames fill up the last."""
    with soundfile.SoundFile(file) as f:
        return f.read(n, dtype="float64", fill_value=0.0)


def _power(x: np.ndarray) -> float:
    return float(np.mean(np.square(x)))
