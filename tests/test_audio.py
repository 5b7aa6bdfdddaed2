import os

import numpy as np
import pytest
import soundfile

from jser import audio, decoding, sound_headers
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


# Channels.


def write_stereo(path, left, right):
    soundfile.write(path, np.stack([left, right], 1), 16_000, "FLOAT")


def test_of_channels_in_opposite_phase_the_loudest_is_taken(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(audio.logging, "warning", lambda *x: told.append(x[0] % x[1:]))
    path = tmp_path / "a.wav"
    write_stereo(path, TONE, -0.95 * TONE)  # The mean would be 32 dB below the first.
    np.testing.assert_array_equal(audio.load(path), TONE)
    write_stereo(path, -0.95 * TONE, TONE)
    np.testing.assert_array_equal(audio.load(path), TONE)
    assert told == [f"{path}: its channels cancel; the loudest is taken alone"] * 2
    write_stereo(path, TONE, -0.75 * TONE)  # 18 dB.
    np.testing.assert_allclose(audio.load(path), TONE / 8, atol=1e-7)
    assert len(told) == 2


def test_the_loudest_channel_is_that_of_the_whole_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 1000)
    soft = TONE * np.repeat([1.0, 0.001], 8000)
    write_stereo(tmp_path / "a.wav", soft, -soft)
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav"), soft, atol=1e-7)


def test_silence_of_two_channels_is_silence(tmp_path):
    write_stereo(tmp_path / "a.wav", 0 * TONE, 0 * TONE)
    assert not audio.load(tmp_path / "a.wav").any()


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_near_the_largest_number_nothing_becomes_infinite(tmp_path, rate_hz):
    huge = np.full((2000, 2), 3e38, np.float32)
    huge[::2] *= -1
    soundfile.write(tmp_path / "a.wav", huge, rate_hz, "FLOAT")
    assert refused(tmp_path / "a.wav") == "non-finite"
    soundfile.write(tmp_path / "a.wav", huge / 1e6, rate_hz, "FLOAT")
    assert np.isfinite(audio.load(tmp_path / "a.wav")).all()


# Blocks, and how much is too much.

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
NOISE = np.random.default_rng(0).normal(0, 0.1, 64_000).astype(np.float32)


def write(path, kind, samples=NOISE) -> bytes:
    form, subtype = KINDS[kind]
    soundfile.write(path, samples, 16_000, subtype, format=form)
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_those_of_one_reading(tmp_path, monkeypatch, kind):
    write(tmp_path / "a", kind)
    with soundfile.SoundFile(tmp_path / "a") as f:
        whole = f.read(dtype="float32")
    monkeypatch.setattr(decoding, "BLOCK", 5000)
    np.testing.assert_array_equal(audio.load(tmp_path / "a"), whole)


def test_a_codec_that_cannot_seek_is_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, 16_000, "GSM610")
    assert len(audio.load(path)) == 16_000
    assert audio.seconds(path) == 1.0


def test_no_more_is_decoded_than_allowed(tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, 16_000)
    with pytest.raises(audio.AudioError, match=r"too long: more than 0\.0002 hours"):
        audio.load(tmp_path / "a.flac", max_hours=0.0002)
    assert len(audio.load(tmp_path / "a.flac", max_hours=1 / 3600)) == 16_000


@pytest.mark.parametrize("rate_hz", [1, 999, 2**31 - 1])
def test_a_rate_that_cannot_be_is_refused(tmp_path, rate_hz):
    path = tmp_path / "a.wav"
    data = bytearray(write(path, "wav"))
    data[24:28] = rate_hz.to_bytes(4, "little")
    path.write_bytes(data)
    assert refused(path) == "sample rate"
    assert audio.seconds(path) is None


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError, RuntimeError])
def test_whatever_a_decoder_raises_is_the_fault_of_the_file(
    tmp_path, monkeypatch, error
):
    def fail(*_, **__):
        raise error("of a decoder")

    write(tmp_path / "a", "wav")
    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(audio.AudioError, match=f"a: unreadable: {error.__name__}: of"):
        audio.load(tmp_path / "a")


# Files that were cut, and sizes that are none.


@pytest.mark.parametrize("left", [0.95, 0.75, 0.5, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_truncated(tmp_path, kind, left):
    data = write(tmp_path / "a", kind)
    (tmp_path / "a").write_bytes(data[: int(len(data) * left)])
    assert refused(tmp_path / "a") in ("truncated", "unreadable")


@pytest.mark.parametrize("kind", ["wav", "aiff", "w64", "rf64", "au", "nist"])
def test_a_frame_and_a_pad_byte_may_lack(tmp_path, kind):
    data = write(tmp_path / "a", kind)
    for lacking in (1, 2, 3):
        (tmp_path / "a").write_bytes(data[:-lacking])
        assert len(audio.load(tmp_path / "a")) == 64_000 - (lacking + 1) // 2
    (tmp_path / "a").write_bytes(data[:-4])
    assert refused(tmp_path / "a") == "truncated"


N = 44 + 128_000


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0, 0),
        (36, 0),
        (2**32 - 1, 0),
        (2**32 - 1, 2**32 - 1),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
        (0x7FFFFFFF, 0x7FFFFFFF - 36),
        (N, N - 44),
        (N - 6, N - 42),
        (0, N - 44),
    ],
)
def test_a_wav_whose_samples_are_there_is_not_truncated(tmp_path, riff, data):
    content = bytearray(write(tmp_path / "a", "wav"))
    content[4:8], content[40:44] = (n.to_bytes(4, "little") for n in (riff, data))
    (tmp_path / "a").write_bytes(content)
    assert len(audio.load(tmp_path / "a")) == 64_000
    assert audio.seconds(tmp_path / "a") == 4.0


def test_what_follows_no_sound_is_not_sound(tmp_path):
    content = bytearray(write(tmp_path / "a", "wav", NOISE[:0]))
    content += b"LIST" + (4000).to_bytes(4, "little") + bytes(4000)
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(content)
    assert refused(tmp_path / "a") == "empty"


def test_the_chunk_after_the_sound_may_be_cut(tmp_path):
    data = write(tmp_path / "a", "wav")
    (tmp_path / "a").write_bytes(data + b"LIST" + (400).to_bytes(4, "little"))
    assert len(audio.load(tmp_path / "a")) == 64_000


@pytest.mark.parametrize(
    ("kind", "field", "size"),
    [
        ("aiff", b"SSND", (0).to_bytes(4, "big")),
        ("aiff", b"SSND", (2**32 - 1).to_bytes(4, "big")),
        ("w64", b"data" + sound_headers._GUID, (2**63 - 1).to_bytes(8, "little")),
        ("au", b".snd\0\0\0\x18", (2**32 - 1).to_bytes(4, "big")),
        ("au", b".snd\0\0\0\x18", (0).to_bytes(4, "big")),
    ],
)
def test_sizes_of_pipes_in_other_formats(tmp_path, kind, field, size):
    data = write(tmp_path / "a", kind)
    place = data.index(field) + len(field)
    (tmp_path / "a").write_bytes(data[:place] + size + data[place + len(size) :])
    assert len(audio.load(tmp_path / "a")) == 64_000


def flac_of_length(path, samples: int) -> None:
    """Changes the 36 bits that say how many samples a FLAC has."""
    data = bytearray(write(path, "flac"))
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path):
    flac_of_length(tmp_path / "a", 0)
    assert len(audio.load(tmp_path / "a")) == 64_000
    assert audio.seconds(tmp_path / "a") is None


def test_a_flac_that_states_more_is_truncated(tmp_path):
    for bit in (20, 35):
        flac_of_length(tmp_path / "a", 64_000 + 2**bit)
        with pytest.raises(audio.AudioError, match=f"64000 of {64_000 + 2**bit} samp"):
            audio.load(tmp_path / "a")
    assert audio.seconds(tmp_path / "a") is None  # Not 597 hours.


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_the_last_page_of_ogg(tmp_path, kind):
    data = bytearray(write(tmp_path / "a", kind))
    whole, last = len(audio.load(tmp_path / "a")), data.rindex(b"OggS")

    def spoil(place: int, value: int, *, mended: bool) -> None:
        page = data[last:].copy()
        page[place] = value
        if mended:
            page[22:26] = sound_headers._crc_of_ogg(bytes(page))
        (tmp_path / "a").write_bytes(data[:last] + page)

    spoil(12, 1, mended=False)  # Of the position, which states the length.
    assert refused(tmp_path / "a") == "truncated"
    spoil(12, 1, mended=True)
    assert whole <= len(audio.load(tmp_path / "a")) < whole + 320
    assert audio.seconds(tmp_path / "a") is None
    spoil(5, 0, mended=True)  # The mark of the end.
    assert refused(tmp_path / "a") == "truncated"


@pytest.fixture
def untagged(tmp_path):
    """An MP3 of noise, then silence; and one without the frame that has the tag."""
    fading = NOISE * np.repeat([1.0, 1e-4], 32_000)
    data = write(tmp_path / "tagged.mp3", "mp3", fading)
    path = tmp_path / "untagged.mp3"
    path.write_bytes(data[data.index(data[:2], 4) :])
    return tmp_path / "tagged.mp3", path


def test_an_mp3_without_a_tag_is_read_to_its_end(untagged):
    """Its length is guessed from the first frame, and reading would end there."""
    tagged, path = untagged
    assert soundfile.info(path).frames < 40_000
    whole, samples = audio.load(tagged), audio.load(path)
    assert 64_000 <= len(samples) <= 64_000 + 2 * 1152
    delay = int(np.argmax(np.correlate(samples[:8000], whole[:4000], "valid")))
    np.testing.assert_allclose(samples[delay:][:60_000], whole[:60_000], atol=2e-3)
    path.write_bytes(b"ID3\4\0\0\0\0\7\x68" + bytes(1000) + path.read_bytes())
    np.testing.assert_array_equal(audio.load(path), samples)


def test_a_pipe_that_is_not_read_to_its_end_is_closed(untagged):
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(audio.AudioError, match="too long"):
        audio.load(untagged[1], max_hours=1e-5)
    untagged[1].write_bytes(b"\xff\xfb" + bytes(1 << 18))
    assert refused(untagged[1]) == "unreadable"
    assert len(os.listdir("/dev/fd")) == before


def test_seconds(tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, 16_000)
    assert audio.seconds(tmp_path / "a.flac") == 1.0
    (tmp_path / "b.wav").write_bytes(b"no sound")
    assert audio.seconds(tmp_path / "b.wav") is None


# What a person should know of a sound.

NOTES = {
    "silent": 0 * TONE,
    "silent as dither": np.where(np.arange(16_000) % 2, 1e-5, -1e-5),
    "clipped": np.clip(8 * TONE, -1, 1),
    "clipped below full scale": 0.985 * np.clip(8 * TONE, -1, 1),
    "": TONE,
    " full scale": TONE / 0.3,
    " a click": np.where(np.arange(16_000) == 7, 1.0, TONE),
    " loud and square, but not full": 0.9 * np.sign(TONE),
    " square below a click": np.where(
        np.arange(16_000) == 15_000, 1.0, 0.985 * np.clip(8 * TONE, -1, 1)
    ),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_notes(tmp_path, monkeypatch, name, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOTES[name], 16_000, subtype)
    notes = tuple(filter(None, name.split(" ")[:1]))
    assert audio.examine(path)[1] == audio.load_noted(path)[1] == notes
    monkeypatch.setattr(decoding, "BLOCK", 1000)
    assert audio.Stream(path).notes == notes
