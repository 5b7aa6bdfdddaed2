"""Timelines by a model that comes along."""

import io

import numpy as np
import pytest
import soundfile

from jser import audio
from jser.recognizer import answers
from jser.recognizer.recognizer import Recognizer
from tests.helpers import fake_model, tiny_corpus

PARTS = [tiny_corpus.tone(hz, 2.5) for hz in (150, 320, 600)]
PAUSE = np.zeros(16_000, np.float32)
CALL = np.concatenate([x for part in PARTS for x in (part, PAUSE)])


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load("emodb-functionals")


def test_each_stretch_has_the_probabilities_of_the_sound_alone(recognizer):
    given = [(3.5 * i, 3.5 * i + 2.5, f"speaker {i}") for i in range(3)]
    found = recognizer.timeline((CALL, 16_000), segments=given)
    assert [(s.start_s, s.end_s, s.speaker) for s in found] == given
    for s, part in zip(found, PARTS, strict=True):
        alone = recognizer((part, 16_000))
        assert s.label == alone.label
        assert s.scores == pytest.approx(dict(alone.scores), abs=1e-5)
    paused = recognizer.timeline((CALL, 16_000), segments="pauses")
    assert [(s.start_s, s.end_s) for s in paused] == [x[:2] for x in given]
    for s, other in zip(paused, found, strict=True):
        assert s.scores == pytest.approx(dict(other.scores), abs=1e-5)


def test_a_recording_of_one_window_is_as_recognised(recognizer):
    (found,) = recognizer.timeline((PARTS[0], 16_000))
    alone = recognizer((PARTS[0], 16_000))
    assert (found.label, found.end_s) == (alone.label, 2.5)
    assert found.scores == pytest.approx(dict(alone.scores), abs=1e-5)


@pytest.mark.slow
def test_a_sound_is_a_file_its_bytes_its_samples_or_a_stream(recognizer, tmp_path):
    path, content = tmp_path / "a.wav", io.BytesIO()
    soundfile.write(path, CALL, 16_000, "FLOAT")
    soundfile.write(content, CALL, 16_000, "FLOAT", format="WAV")
    wanted = recognizer.timeline((CALL, 16_000), window_s=2.0)
    assert wanted[0].start_s == 0
    with audio.Stream(path, block_s=0.1) as stream:
        for sound in (path, str(path), content.getvalue(), stream):
            assert recognizer.timeline(sound, window_s=2.0) == wanted


@pytest.mark.parametrize(
    ("channels", "note"),
    [
        ([np.clip(8 * CALL, -1, 1)], "clipped: its peaks are cut off"),
        ([CALL, -CALL], "its channels cancel; the loudest was taken alone"),
        ([0 * CALL], "nothing but silence"),
    ],
)
def test_the_command_says_what_makes_a_timeline_worth_less(
    recognizer, tmp_path, capsys, channels, note
):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack(channels, 1), 16_000)
    how = {"segments": None, "profile": None}
    answers.write_timelines(recognizer, [("a.wav", path)], "text", None, **how)
    told = capsys.readouterr().err.splitlines()
    assert [x for x in told if x.startswith("note: a.wav")] == [f"note: a.wav: {note}"]


def test_bad_sounds_and_segments(recognizer, tmp_path):
    with pytest.raises(audio.AudioError, match=r"none\.wav: missing"):
        recognizer.timeline(tmp_path / "none.wav")
    with pytest.raises(audio.AudioError, match="the sound: unreadable"):
        recognizer.timeline(b"no sound")
    with pytest.raises(ValueError, match="segments 'pause': give 'pauses', or a list"):
        recognizer.timeline((CALL, 16_000), segments="pause")
    with pytest.raises(ValueError, match="no profile 'office'"):
        recognizer.timeline((CALL, 16_000), profile="office")


def test_stream(recognizer):
    chunks = fake_model.blocks(CALL, 1_000)
    found = list(recognizer.stream(chunks, window_s=2.0))
    assert [s.end_s for s in found] == [*range(1, 11), 10.5]
    (first,) = recognizer.timeline((CALL[:16_000], 16_000))
    assert found[0].scores == pytest.approx(dict(first.scores), abs=1e-5)
    assert found[-1].label == ""
