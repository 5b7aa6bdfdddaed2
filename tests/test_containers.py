import builtins

import numpy as np
import pytest

from jser import audio, containers
from jser.corpora import prepare
from tests.helpers import av_files, tiny_corpus

pytest.importorskip("av", reason='pip install "jser[av]"')
TONE = tiny_corpus.tone(440, 2.0, 48_000)


def refused(path) -> str:
    with pytest.raises(audio.AudioError) as e:
        audio.load(path)
    assert str(path) in str(e.value)
    return str(e.value)


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return np.argmax(spectrum) * 16_000 / len(samples)


@pytest.mark.parametrize("suffix", sorted(containers.SUFFIXES))
def test_reads(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    av_files.write(path, TONE, 48_000)
    samples = audio.load(path)
    assert len(samples) == pytest.approx(32_000, abs=800)
    assert loudest_hz(samples) == pytest.approx(440, abs=1)
    middle = samples[8_000:24_000]
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.02)
    assert audio.seconds(path) == pytest.approx(len(samples) / 16_000, abs=1e-3)
    assert audio.examine(path)[0] == audio.seconds(path)
    assert audio.examine(path)[1] == ()


def test_the_name_says_nothing(tmp_path):
    av_files.write(tmp_path / "a.m4a", TONE, 48_000)
    (tmp_path / "a.m4a").rename(tmp_path / "a.wav")
    assert loudest_hz(audio.load(tmp_path / "a.wav")) == pytest.approx(440, abs=1)


def test_channels_that_cancel_are_not_averaged(tmp_path):
    path = tmp_path / "a.m4a"
    av_files.write(path, np.stack([TONE, -TONE], 1), 48_000)
    assert np.abs(audio.load(path)).max() > 0.2
    assert audio.examine(path)[1] == ("channels cancel",)


@pytest.mark.parametrize("suffix", sorted(containers.SUFFIXES))
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.8])
def test_a_file_cut_short_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"a{suffix}"
    first = {} if suffix == ".webm" else {"movflags": "faststart"}
    av_files.write(path, TONE, 48_000, **first)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "unreadable" in refused(path)
    assert audio.seconds(path) is None


def test_a_film_without_sound(tmp_path):
    av_files.write_film(tmp_path / "a.mp4")
    assert "there is no sound in it" in refused(tmp_path / "a.mp4")


def test_a_playlist_opens_nothing(tmp_path):
    """FFmpeg would read what a playlist names; it is not asked what a file is."""
    av_files.write(tmp_path / "a.m4a", TONE, 48_000)
    other = tmp_path / "b.m4a"
    other.write_text(f"#EXTM3U\n#EXTINF:2,\nfile://{tmp_path / 'a.m4a'}\n")
    assert "unreadable" in refused(other)


def test_too_long(tmp_path):
    av_files.write(tmp_path / "a.webm", TONE, 48_000)
    with pytest.raises(audio.AudioError, match="too long"):
        audio.load(tmp_path / "a.webm", max_hours=1 / 3600)


def test_without_pyav_the_message_says_what_to_install(tmp_path, monkeypatch):
    av_files.write(tmp_path / "a.m4a", TONE, 48_000)
    real = builtins.__import__

    def without_av(name, *args):
        if name == "av":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_av)
    assert 'pip install "jser[av]"' in refused(tmp_path / "a.m4a")


def test_a_folder_of_them_is_a_corpus(tmp_path):
    for n, emotion in enumerate(("angry", "sad")):
        (tmp_path / "in" / emotion).mkdir(parents=True)
        for k in range(4):
            sound = tiny_corpus.tone(300 + 10 * k + n, 1.0, 48_000)
            av_files.write(tmp_path / "in" / emotion / f"{k}.m4a", sound, 48_000)
    table = prepare.prepare(
        "folder", tmp_path / "in", tmp_path / "out", policy="utterances"
    )
    assert len(table.utterances) == 8
    assert all(u.seconds == pytest.approx(1, abs=0.05) for u in table.utterances)
