import numpy as np
import pytest
import soundfile

from jser import audio
from tests.helpers import tiny_corpus

TONE = tiny_corpus.tone(440, 1.0)


def refused(path) -> str:
    with pytest.raises(audio.AudioError) as e:
        audio.load(path)
    assert str(path) in str(e.value)
    return e.value.reason


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_reads(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, TONE, 16_000)
    samples = audio.load(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    # Lossy formats add some silence; the tone is there all the same.
    assert len(TONE) <= len(samples) <= len(TONE) + 2400
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([TONE, np.zeros_like(TONE)], 1), 16_000, "FLOAT")
    np.testing.assert_allclose(audio.load(path), TONE / 2, atol=1e-7)


def test_48_khz_becomes_16(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tiny_corpus.tone(440, 1.0, 48_000), 48_000, "FLOAT")
    samples = audio.load(path)
    assert len(samples) == 16_000
    np.testing.assert_allclose(samples[500:-500], TONE[500:-500], atol=1e-3)


def test_missing(tmp_path):
    assert refused(tmp_path / "a.wav") == "missing"


def test_corrupt(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"this is no sound" * 100)
    assert refused(tmp_path / "a.wav") == "unreadable"


def test_empty_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    assert refused(tmp_path / "a.wav") == "unreadable"


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    assert refused(tmp_path / "a.wav") == "empty"


def test_too_short(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE[:399], 16_000)
    assert refused(tmp_path / "a.wav") == "too short"
    soundfile.write(tmp_path / "a.wav", TONE[:400], 16_000)
    assert len(audio.load(tmp_path / "a.wav")) == 400


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite(tmp_path, value):
    sick = TONE.copy()
    sick[7] = value
    soundfile.write(tmp_path / "a.wav", sick, 16_000, "FLOAT")
    assert refused(tmp_path / "a.wav") == "non-finite"


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, TONE, 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(path) in ("truncated", "unreadable")


def test_a_streamed_wav_is_not_truncated(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, 16_000)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(audio.load(path)) == 16_000


def test_seconds(tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, 16_000)
    assert audio.seconds(tmp_path / "a.flac") == 1.0
    (tmp_path / "b.wav").write_bytes(b"no sound")
    assert audio.seconds(tmp_path / "b.wav") is None
