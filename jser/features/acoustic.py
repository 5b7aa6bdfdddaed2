"""Speech front ends that need no weights: log-mel, MFCC and prosody, by librosa.

Sounds of more than two minutes are analysed in pieces, so that memory stays bounded;
what is taken over the utterance (means, the loudest bin, the median pitch) is taken
over the whole. Spectra of the pieces are those of the whole to rounding; the pitch
tracker's path may differ near their ends (docs/features.md says how much).
"""

from collections.abc import Callable
import functools

import numpy as np

from jser import audio, caches

HOP = 320  # 20 ms, the step of the large speech encoders.
FRAMES_PER_S = audio.SAMPLE_RATE_HZ / HOP
MELS = 80
CEPSTRA = 20
_FFT = 1024
_WINDOW = 640
_F0_RANGE_HZ = (60.0, 500.0)
_FLOOR_DB = 80.0  # Below the loudest bin of the utterance.
_PIECE = 6_000  # Frames that are analysed at once: two minutes,
_CONTEXT = 100  # and as many more at both ends of a piece of a longer sound.

caches.for_numba()  # Before librosa is imported, which waits until it is needed.


def waveform(samples: np.ndarray) -> np.ndarray:
    """The sound itself, a sample a frame, for an encoder that learns.

    Args:
      samples: [n] float32 at 16 kHz.

    Returns:
      [n, 1] float32. Stored as float16, a sample is rounded by its 2,048th at most.
    """
    return samples[:, None]


def logmel(samples: np.ndarray) -> np.ndarray:
    """Log-mel frames, normalised over the utterance.

    80 mel bands up to 8 kHz, 40 ms windows every 20 ms, power in dB, floored 80 dB
    below the utterance's loudest bin; then the utterance's mean and deviation over all
    bins are taken out. Level is lost, spectral shape and its tilt are kept.

    Args:
      samples: [n] float32 at 16 kHz.

    Returns:
      [1 + n // 320, 80] float32.
    """
    import librosa

    power = _mel_power(samples, MELS)
    db = librosa.power_to_db(power, ref=np.max, top_db=_FLOOR_DB)
    return ((db - db.mean()) / (db.std() + 1e-3)).T.astype(np.float32)


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients and their deltas.

    20 coefficients of 40 mel bands in dB relative to the utterance's loudest bin,
    floored at -80, divided by 10; then three times their deltas over 100 ms. What a
    small corpus learns from better than `logmel`: the columns are nearly uncorrelated,
    and the first ones are loudness and tilt. Frames are those of `logmel`.

    Args:
      samples: [n] float32 at 16 kHz.

    Returns:
      [1 + n // 320, 40] float32.
    """
    import librosa

    power = _mel_power(samples, 40)
    db = librosa.power_to_db(power, ref=np.max, top_db=_FLOOR_DB)
    static = librosa.feature.mfcc(S=db, n_mfcc=CEPSTRA, norm="ortho") / 10
    return _with_deltas(static)


def prosody(samples: np.ndarray) -> np.ndarray:
    """Pitch, energy, spectral shape and harmonicity per frame, and their deltas.

    Columns, each brought near unit size by a fixed scale: pitch in octaves above 100 Hz
    (0 where unvoiced); pitch relative to the utterance's median; voiced or not; the
    probability of voicing (pYIN, Mauch and Dixon, 2014); energy in dB about the
    utterance's mean; spectral slope, centroid and flux; harmonicity in dB (Boersma,
    1993). Then the same nine's deltas over 100 ms. Frames are those of `logmel`.

    Args:
      samples: [n] float32 at 16 kHz.

    Returns:
      [1 + n // 320, 18] float32.
    """
    octave_T, voiced_T, probability_T, energy_T, *shape = _in_pieces(
        samples, _prosody_of_piece
    )
    median = np.median(octave_T[voiced_T]) if voiced_T.any() else 0.0
    *spectral, harmonicity_T = shape
    columns = (
        octave_T,
        np.where(voiced_T, octave_T - median, 0.0) * 3,
        voiced_T,
        probability_T,
        (energy_T - energy_T.mean()) / 12,
        *spectral,
        harmonicity_T / 10,
    )
    return _with_deltas(np.stack(columns))


def _prosody_of_piece(samples: np.ndarray) -> tuple[np.ndarray, ...]:
    """Octave, voicing, its probability, energy, three of shape, harmonicity; [T]."""
    import librosa

    power_FT = _power(samples)
    f0_T, voiced_T, probability_T = librosa.pyin(
        samples,
        fmin=_F0_RANGE_HZ[0],
        fmax=_F0_RANGE_HZ[1],
        sr=_SR,
        frame_length=_FFT,
        hop_length=HOP,
        resolution=0.2,  # Semitones.
        fill_na=0.0,
    )
    return (
        np.where(voiced_T, np.log2(np.maximum(f0_T, 1.0) / 100.0), 0.0),
        voiced_T,
        probability_T,
        10 * np.log10(power_FT.sum(0) + 1e-10),
        *_shape(power_FT),
        _harmonicity_db(samples, np.where(voiced_T, f0_T, 0.0)),
    )


_SR = audio.SAMPLE_RATE_HZ
PROSODY_WIDTH = 18
FUNCTIONALS_WIDTH = 10 * (2 * CEPSTRA + PROSODY_WIDTH)


def functionals(samples: np.ndarray) -> np.ndarray:
    """One row of statistics over the frames of `mfcc` and `prosody` (58 columns).

    Of each column: mean, deviation, percentiles 5, 25, 50, 75 and 95 over all frames;
    mean and deviation over the voiced ones (over all where fewer than four are voiced);
    slope over time. On a few hundred utterances this is more than a network learns from
    frames; its columns differ in size, so a model should standardise them.

    Args:
      samples: [n] float32 at 16 kHz.

    Returns:
      [1, 580] float32.
    """
    prosody_TF = prosody(samples)
    frames_TF = np.concatenate([mfcc(samples), prosody_TF], axis=1)
    voiced_T = prosody_TF[:, 2] > 0
    spoken_TF = frames_TF[voiced_T] if voiced_T.sum() > 3 else frames_TF
    time_T1 = np.linspace(-1, 1, len(frames_TF))[:, None]
    rows = (
        frames_TF.mean(0),
        frames_TF.std(0),
        *np.percentile(frames_TF, (5, 25, 50, 75, 95), axis=0),
        spoken_TF.mean(0),
        spoken_TF.std(0),
        (frames_TF * time_T1).mean(0) / np.mean(time_T1**2),
    )
    return np.concatenate(rows)[None].astype(np.float32)


def _with_deltas(static_FT: np.ndarray) -> np.ndarray:
    """[T, 2 F]: the columns and three times their slopes over 5 frames."""
    import librosa

    delta = librosa.feature.delta(static_FT.astype(np.float32), width=5, mode="nearest")
    return np.concatenate([static_FT, 3 * delta]).T.astype(np.float32)


def _in_pieces(
    samples: np.ndarray, analyse: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """What `analyse` says, [..., T] each, of no more than a piece at a time."""
    T = 1 + len(samples) // HOP
    if T <= _PIECE:
        return analyse(samples)
    pieces = []
    for start in range(0, T, _PIECE):
        first, end = max(0, start - _CONTEXT), min(T, start + _PIECE)
        there = slice(first * HOP, (end + _CONTEXT) * HOP)
        kept = slice(start - first, end - first)
        pieces.append([x[..., kept] for x in analyse(samples[there])])
    return tuple(np.concatenate(x, axis=-1) for x in zip(*pieces, strict=True))


def _mel_power(samples: np.ndarray, bands: int) -> np.ndarray:
    import librosa

    def of_piece(piece: np.ndarray) -> tuple[np.ndarray]:
        power_FT = _power(piece)
        return (librosa.feature.melspectrogram(S=power_FT, n_mels=bands, sr=_SR),)

    return _in_pieces(samples, of_piece)[0]


def _power(samples: np.ndarray) -> np.ndarray:
    import librosa

    stft = librosa.stft(
        samples, n_fft=_FFT, hop_length=HOP, win_length=_WINDOW, pad_mode="constant"
    )
    return np.abs(stft) ** 2


@functools.cache
def _frequencies() -> np.ndarray:
    import librosa

    return librosa.fft_frequencies(sr=_SR, n_fft=_FFT)


def _shape(power_FT: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope (dB per octave, 100 Hz to 5 kHz), centroid, flux; each about unit size."""
    f = _frequencies()
    band = (f >= 100) & (f <= 5000)
    octave = np.log2(f[band])
    octave -= octave.mean()
    db = 10 * np.log10(power_FT[band] + 1e-10)
    slope = octave @ db / (octave @ octave)
    magnitude = np.sqrt(power_FT)
    total = magnitude.sum(0) + 1e-5
    centroid_hz = f @ magnitude / total
    shares = magnitude / total
    flux = np.abs(np.diff(shares, axis=1, prepend=shares[:, :1])).sum(0)
    return slope / 6, centroid_hz / 1000 - 1, flux


def _harmonicity_db(samples: np.ndarray, f0_T: np.ndarray) -> np.ndarray:
    """Harmonics-to-noise ratio from the autocorrelation at the pitch period.

    The window's own autocorrelation is divided out (Boersma, 1993, equation 9).
    Unvoiced frames get 0 dB.
    """
    import librosa

    padded = np.pad(samples, _FFT // 2)
    frames = librosa.util.frame(padded, frame_length=_FFT, hop_length=HOP)
    window = np.hanning(_FFT)[:, None]
    both = np.concatenate([(frames - frames.mean(0)) * window, window], axis=1)
    spectrum = np.abs(np.fft.rfft(both, 2 * _FFT, axis=0)) ** 2
    lags = np.fft.irfft(spectrum, axis=0)[: _FFT // 2 + 1]
    correlation = lags[:, :-1] / (lags[0, :-1] + 1e-10)
    correlation /= (lags[:, -1] / lags[0, -1])[:, None]
    period = np.rint(_SR / np.maximum(f0_T, _F0_RANGE_HZ[0])).astype(int)
    r = np.clip(correlation[period, np.arange(len(period))], 0.01, 0.999)
    return np.where(f0_T > 0, 10 * np.log10(r / (1 - r)), 0.0)
