"""Sounds block by block, and such as are no files."""

import io
import os
import tempfile

import numpy as np
import pytest
import soundfile

from jser import audio, decoding
from tests.helpers import av_files, tiny_corpus

NOISE = np.random.default_rng(0).normal(0, 0.1, 70_001).astype(np.float32)


def encoded(form="WAV", samples=NOISE, rate_hz=16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form)
    return file.getvalue()


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not os.listdir(folder)


# Blocks.


@pytest.mark.parametrize("decoded", [1000, 1 << 20])
@pytest.mark.parametrize("block_s", [0.001, 0.3, 10.0])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_blocks_are_the_samples_of_load(
    tmp_path, monkeypatch, rate_hz, block_s, decoded
):
    monkeypatch.setattr(decoding, "BLOCK", decoded)
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, rate_hz)
    stream = audio.Stream(path, block_s=block_s)
    blocks = list(stream)
    assert {len(b) for b in blocks[:-1]} <= {round(block_s * 16_000)}
    assert 0 < len(blocks[-1]) <= block_s * 16_000
    assert {b.dtype for b in blocks} == {np.dtype(np.float32)}
    whole = np.concatenate(blocks)
    assert stream.samples == len(whole)
    np.testing.assert_allclose(whole, audio.load(path), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(whole, np.concatenate([*stream]))  # Once more.


@pytest.mark.parametrize("form", ["FLAC", "OGG", "MP3"])
def test_other_formats(tmp_path, form):
    data = encoded(form, rate_hz=22_050)
    (tmp_path / "a").write_bytes(data)
    np.testing.assert_allclose(
        np.concatenate([*audio.Stream(tmp_path / "a")]),
        audio.load(tmp_path / "a"),
        rtol=0,
        atol=1e-6,
    )


def test_containers(tmp_path):
    pytest.importorskip("av", reason='pip install "jser[av]"')
    path = tmp_path / "a.m4a"
    av_files.write(path, tiny_corpus.tone(440, 2.0, 48_000), 48_000)
    whole = np.concatenate([*audio.Stream(path, block_s=0.1)])
    np.testing.assert_allclose(whole, audio.load(path), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(audio.load_bytes(path.read_bytes()), audio.load(path))


@pytest.mark.parametrize("gain", [0.5, -0.95])
def test_channels_are_those_of_load(tmp_path, monkeypatch, gain):
    monkeypatch.setattr(decoding, "BLOCK", 1000)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([gain * NOISE, NOISE], 1), 48_000, "FLOAT")
    with audio.Stream(path) as stream:
        whole = np.concatenate([*stream])
    assert ("channels cancel" in stream.notes) == (gain < 0)
    np.testing.assert_allclose(whole, audio.load(path), rtol=0, atol=1e-6)


def test_notes_are_of_the_channel_that_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 1000)
    loud = np.clip(40 * NOISE, -1, 1)
    soundfile.write(tmp_path / "a.wav", np.stack([-loud, loud], 1), 48_000)
    notes = audio.Stream(tmp_path / "a.wav").notes
    assert notes == audio.examine(tmp_path / "a.wav")[1]
    assert notes == ("clipped", "channels cancel")


@pytest.mark.parametrize("samples", range(1195, 1205))
def test_the_shortest_sound_is_that_of_load(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", NOISE[:samples], 48_000)
    if samples * 16_000 < 399.5 * 48_000:
        with pytest.raises(audio.AudioError, match=r"short: 39[89] sam") as wanted:
            audio.load(tmp_path / "a.wav")
        with pytest.raises(audio.AudioError) as mine:
            audio.Stream(tmp_path / "a.wav")
        assert str(mine.value) == str(wanted.value)
    else:
        length = len(audio.load(tmp_path / "a.wav"))
        assert audio.Stream(tmp_path / "a.wav").samples == length


SICK = np.where(np.arange(len(NOISE)) == 60_000, np.nan, NOISE)
BAD = {
    "unreadable": b"this is no sound" * 100,
    "empty": encoded(samples=NOISE[:0]),
    "truncated": encoded()[:-1000],
    "too short": encoded(samples=NOISE[:399]),
    "sample rate": encoded(rate_hz=999),
    "non-finite": encoded("CAF", SICK),
}


@pytest.fixture
def write_bad(tmp_path):
    def write(reason):
        path = tmp_path / "a"
        if reason == "non-finite":
            soundfile.write(path, SICK, 16_000, "FLOAT", format="WAV")
        elif reason != "missing":
            path.write_bytes(BAD[reason])
        return path

    return write


@pytest.mark.parametrize("reason", ["missing", *BAD])
def test_a_bad_file_is_refused_as_by_load_before_the_first_block(write_bad, reason):
    path = write_bad(reason)
    with pytest.raises(audio.AudioError) as wanted:
        audio.load(path)
    assert wanted.value.reason == reason
    with pytest.raises(audio.AudioError) as mine:
        audio.Stream(path)
    assert (str(mine.value), mine.value.reason) == (str(wanted.value), reason)
    with pytest.raises(audio.AudioError, match=rf"^her upload: {reason}: "):
        audio.Stream(path, name="her upload")


def test_too_long():
    data = encoded()
    with pytest.raises(audio.AudioError, match=r"^x\.wav: too long: more than 0\.001 "):
        audio.load_bytes(data, "x.wav", max_hours=0.001)
    with pytest.raises(audio.AudioError, match=r"^the sound: too long"):
        audio.Stream(io.BytesIO(data), max_hours=0.001)


# What is no file.


@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3"])
def test_bytes_are_as_the_file(tmp_path, form):
    data = encoded(form)
    (tmp_path / "a").write_bytes(data)
    np.testing.assert_array_equal(
        audio.load_bytes(data, "../../etc/passwd"), audio.load(tmp_path / "a")
    )


@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("name", ["", "../../etc/passwd", "/dev/null"])
def test_bad_bytes_are_told_by_their_name(write_bad, reason, name):
    data = write_bad(reason).read_bytes()
    with pytest.raises(audio.AudioError) as e:
        audio.load_bytes(data, name)
    assert str(e.value).startswith(f"{name or 'the sound'}: {reason}: ")
    assert "jser-" not in str(e.value)


def test_of_no_message_the_temporary_file_is_a_part(temporary, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError(f"cannot read {temporary / os.listdir(temporary)[0]}")

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(audio.AudioError, match=r": RuntimeError: cannot read hers$"):
        audio.load_bytes(encoded(), "hers")


def test_a_pipe(temporary):
    reading, writing = os.pipe()
    with open(writing, "wb") as f:
        f.write(encoded(samples=NOISE[:20_000]))
    with open(reading, "rb") as pipe, audio.Stream(pipe, name="standard input") as s:
        assert len(os.listdir(temporary)) == 1
        assert s.samples == sum(map(len, s)) == sum(map(len, s)) == 20_000


def test_what_a_pipe_holds_may_be_bad():
    with pytest.raises(audio.AudioError, match=r"^standard input: truncated: "):
        audio.Stream(io.BytesIO(BAD["truncated"]), name="standard input")
