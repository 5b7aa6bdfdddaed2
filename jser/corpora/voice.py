"""A small source-filter speech synthesiser, for a corpus whose truth is known.

Glottal pulses and noise (the source) pass formants that move from phone to phone (the
filter; Fant, 1960). It babbles letters rather than speaks a language, but pitch, rate,
level and voice quality obey the `Manner` exactly, which is what a test corpus needs.
"""

import dataclasses

import numpy as np
from scipy import signal

SAMPLE_RATE_HZ = 16_000
_HOP = 80  # 5 ms: formants and pitch move on this grid.
_WINDOW, _STEP = 512, 160  # Of the short-time spectra.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manner:
    """How an utterance is spoken."""

    f0_hz: float  # Mean pitch.
    f0_range_st: float  # Size of the accents, in semitones.
    final_st: float  # Rise (or fall) over the last quarter, in semitones.
    rate: float  # Speed; 1 is about 16 phones a second.
    level_db: float  # RMS level below full scale, such as -25.
    tilt_hz: float  # Corner of the glottal low-pass: tense voices have it high.
    breath: float  # Aspiration noise relative to the voice, 0 to 1.
    jitter: float  # Relative pitch noise, cycle to cycle.
    formant_scale: float  # Above 1 for short vocal tracts.


@dataclasses.dataclass(frozen=True)
class _Phone:
    seconds: float
    formants_hz: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    voice: float = 0.0
    noise: float = 0.0
    noise_hz: float = 4000.0


_VOWELS = {
    "a": (730, 1250, 2500),
    "e": (530, 1840, 2480),
    "i": (320, 2250, 2950),
    "o": (530, 930, 2450),
    "u": (340, 900, 2300),
    "y": (330, 2000, 2700),
}
_PHONES = (
    {v: _Phone(0.085, f, voice=1.0) for v, f in _VOWELS.items()}
    | {c: _Phone(0.055, (280, 1200, 2400), voice=0.45) for c in "mn"}
    | {c: _Phone(0.05, (380, 1100, 2500), voice=0.6) for c in "lrw"}
    | {c: _Phone(0.065, noise=0.30, noise_hz=6000) for c in "scxz"}
    | {c: _Phone(0.055, noise=0.10, noise_hz=4000) for c in "fhv"}
    | {c: _Phone(0.05, noise=0.22, noise_hz=2500) for c in "kqtpj"}
    | {c: _Phone(0.05, (250, 1300, 2400), voice=0.3, noise=0.05) for c in "bdg"}
    | {" ": _Phone(0.04)}
)


def plain_seconds(text: str) -> float:
    """How long `speak` takes for a text at rate 1, give or take a little."""
    return sum(_PHONES[c].seconds for c in text.lower() if c in _PHONES)


def speak(text: str, manner: Manner, rng: np.random.Generator) -> np.ndarray:
    """The text as sound: [n] float32 at 16 kHz, within (-1, 1)."""
    letters = [c for c in text.lower() if c in _PHONES]
    phones = [_PHONES[c] for c in letters]
    frames = [
        max(4, round(p.seconds / manner.rate / 0.005 * rng.uniform(0.85, 1.15)))
        for p in phones
    ]
    track = {
        "voice": np.repeat([p.voice for p in phones], frames),
        "noise": np.repeat([p.noise for p in phones], frames),
        "noise_hz": np.repeat([p.noise_hz for p in phones], frames),
    }
    formants_3T = np.repeat(
        np.array([p.formants_hz for p in phones]).T * manner.formant_scale,
        frames,
        axis=1,
    )
    track = {k: _smooth(v, 5) for k, v in track.items()}
    formants_3T = np.stack([_smooth(f, 9) for f in formants_3T])
    words = np.repeat(np.cumsum([c == " " for c in letters]), frames)
    f0_T = _pitch(words, manner, rng)

    voiced = _glottis(f0_T, manner, rng) * _at_samples(track["voice"])
    hiss = rng.standard_normal(len(voiced)) * _at_samples(track["noise"])
    samples = _filter(voiced, hiss, formants_3T, track["noise_hz"], manner)
    samples *= 10 ** (manner.level_db / 20) / np.sqrt(np.mean(samples**2))
    samples += 3e-4 * rng.standard_normal(len(samples))  # Room.
    # No clipping: a level too high for full scale bends softly at 0.5 and above.
    over = np.abs(samples) > 0.5
    samples[over] = np.sign(samples[over]) * (
        0.5 + 0.45 * np.tanh((np.abs(samples[over]) - 0.5) / 0.45)
    )
    return samples.astype(np.float32)


def _pitch(words_T: np.ndarray, m: Manner, rng: np.random.Generator) -> np.ndarray:
    """Hz per frame: one accent a word, declination, the final movement, jitter."""
    T = len(words_T)
    position = np.linspace(0, 1, T)
    accents = rng.normal(0.0, 1.0, words_T[-1] + 1)[words_T]
    semitones = m.f0_range_st * (_smooth(accents, 25) + 0.5 - position)
    semitones += m.final_st * np.clip((position - 0.75) / 0.25, 0, 1)
    return m.f0_hz * 2 ** (semitones / 12) * (1 + m.jitter * rng.standard_normal(T))


def _glottis(f0_T: np.ndarray, m: Manner, rng: np.random.Generator) -> np.ndarray:
    """Derivative of the glottal flow (the KLGLOTT88 polynomial) plus aspiration."""
    phase = np.cumsum(_at_samples(f0_T) / SAMPLE_RATE_HZ) % 1.0
    opening = phase / 0.6
    pulse = np.where(opening < 1, 2 * opening - 3 * opening**2, 0.0)
    low = np.exp(-2 * np.pi * m.tilt_hz / SAMPLE_RATE_HZ)
    pulse = np.asarray(signal.lfilter([1 - low], [1, -low], pulse))
    pulse /= pulse.std()
    return pulse + m.breath * rng.standard_normal(len(pulse)) * (opening < 1)


def _filter(voiced, hiss, formants_3T, noise_hz_T, m: Manner) -> np.ndarray:
    """Shapes both sources frame by frame in the short-time spectrum."""
    both = np.stack([voiced, hiss])
    overlap = _WINDOW - _STEP
    f_F, _, both_2FT = signal.stft(
        both, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=overlap
    )
    frames = np.minimum(
        np.arange(both_2FT.shape[-1]) * _STEP // _HOP, formants_3T.shape[1] - 1
    )
    f_F1 = f_F[:, None]
    gain = np.ones((len(f_F), len(frames)))
    fourth_T = np.full(formants_3T.shape[1], 3500.0 * m.formant_scale)
    for centre_T, width in zip(
        (*formants_3T, fourth_T), (80.0, 100.0, 140.0, 220.0), strict=True
    ):
        c = centre_T[frames]
        gain *= c**2 / np.sqrt((f_F1**2 - c**2) ** 2 + (f_F1 * width) ** 2)
    band = np.exp(-(((f_F1 - noise_hz_T[frames]) / 1500.0) ** 2))
    shaped = both_2FT[0] * gain + both_2FT[1] * band
    _, samples = signal.istft(shaped, SAMPLE_RATE_HZ, nperseg=_WINDOW, noverlap=overlap)
    return samples[: len(voiced)]


def _smooth(values_T: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(values_T.astype(float), width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _at_samples(values_T: np.ndarray) -> np.ndarray:
    grid = np.arange(len(values_T)) * _HOP
    return np.interp(np.arange(len(values_T) * _HOP), grid, values_T)
