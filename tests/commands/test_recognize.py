"""`jser recognize` as it is typed: flags that go together, and what is said of what."""

import csv
import io
import json
import pathlib

import numpy as np
import pytest
import soundfile

from jser.recognizer.recognizer import Recognizer
from tests.helpers.paths import FIXTURES
from tests.helpers.tiny_corpus import tone

MODEL = ("--model", str(FIXTURES / "bundle"))


@pytest.fixture
def recognize(jser, tmp_path):
    """Runs `jser recognize` of an old model in a folder with sounds.

    calls/a.wav is clipped, calls/b.wav is short, calls/silent.wav is silent.
    """
    made = {"a": np.clip(9 * tone(270, 1.5), -1, 1), "b": tone(330, 0.5)}
    made["silent"] = np.zeros(16_000)
    (tmp_path / "calls").mkdir()
    for name, samples in made.items():
        soundfile.write(tmp_path / "calls" / f"{name}.wav", samples, 16_000)
    return lambda *argv: jser("recognize", *MODEL, *argv)


A, B, SILENT = (f"calls/{name}.wav" for name in ("a", "b", "silent"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([A, "--coverage=x"], "--coverage=x: it reads as 0.9."),
        ([A, "--timeline", "--coverage=x"], "--coverage: a --timeline has no cand"),
        ([A, "--timeline", "--transcript=x"], "--transcript: it does not say what"),
        ([A, "--transcript=x", "--transcriber=y"], "--transcriber: the --transcript"),
        ([A, "--transcript="], "--transcript: tiny reads no words; leave it out."),
        ([A, "--transcriber=x"], "--transcriber: tiny reads no words; leave it out."),
        ([A, B, "--transcript=x"], "--transcript: of one sound, and there are 2; a "),
        ([A, "--segments=pauses"], "--segments: they are of a --timeline."),
        ([A, "--timeline", "--segments=x.rttm"], "--segments x.rttm: no such file."),
        ([A, f"--adapt={A}"], f"--adapt {A}: no such folder. Give one of recordings"),
        ([A, "--profile=calls"], "--profile calls: a folder. Give a file: office.npz"),
        (["calls", "-o", A], f"-o {A}: no folder. Give one, for a file each; what is"),
        (["calls", "-o", "x.csv"], "goes to a file by > x.csv"),
        ([A, "--weights=hubert=x"], "weights of 'hubert': the model takes none"),
        ([A, "--revision=main"], "revision 'main': of a model on the hub, and "),
        (["calls", "--timeline", "-f", "srt"], "-f srt: a file of it holds one record"),
        ([A, "-m", "emodb-functional"], "Did you mean emodb-functionals?"),
    ],
)
def test_a_slip_is_told_in_one_line(recognize, argv, message):
    status, shown, told = recognize(*argv)
    assert (status, shown) == (1, ""), told
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


def test_a_model_that_reads_words_wants_them(recognize, monkeypatch):
    load = Recognizer.load

    def reading_words(*args, **options):
        recognizer = load(*args, **options)
        recognizer.reads_text = True
        return recognizer

    monkeypatch.setattr(Recognizer, "load", reading_words)
    assert "hears them, or the --transcript." in recognize(A)[2]
    assert "hears them.\n" in recognize(A, "--timeline")[2]
    assert recognize(A, "--transcript=x")[0] == 0


def test_notes_say_of_which_sound(recognize):
    alone = recognize(A)[2].splitlines()
    assert "note: clipped: its peaks are cut off" in alone
    of_several = recognize("calls")[2]
    assert f"note: {A}: clipped: its peaks are cut off\n" in of_several
    assert f"note: {B}: short: 0.50 s, and emotion takes a" in of_several
    both = recognize(A, A)[2].splitlines()
    assert "note: clipped: its peaks are cut off" in both


def test_timelines_of_several_sounds_are_told_apart(recognize):
    ask = ("calls", "--timeline", "--segments=pauses")
    rows = list(csv.DictReader(io.StringIO(recognize(*ask, "-f", "csv")[1])))
    assert [row["file"] for row in rows] == [A, B]
    assert all(float(row["p_sad"]) >= 0 for row in rows)
    silent_first = recognize(SILENT, *ask, "-f", "csv")[1]
    assert silent_first.startswith("file,start_s,end_s,speaker,label,p_angry,")
    lines = recognize(*ask, "-f", "json")[1].splitlines()
    assert [json.loads(line)["file"] for line in lines] == [A, B, SILENT]
    shown = recognize(*ask)[1].splitlines()
    assert [line for line in shown if " - " not in line] == [
        *(f"{name}:" for name in (A, B, SILENT))
    ]


@pytest.mark.parametrize("options", [(), ("--timeline",)])
def test_a_sound_without_bytes_is_empty(recognize, monkeypatch, capsys, options):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    pathlib.Path("zero.wav").touch()
    for given, name in (("-", "the sound"), ("zero.wav", "zero.wav")):
        with pytest.raises(SystemExit, match="1 of 1 sound could not be used"):
            recognize(given, *options)
        told = capsys.readouterr().err
        assert f"error: {name}: unreadable: it is empty, of 0 bytes\n" in told


def test_a_folder_holds_answers_of_one_kind(recognize):
    for options in ((), ("--timeline", "-f", "srt")):
        assert recognize("calls", "-o", "out", *options)[0] == 0
        before = sorted(pathlib.Path("out").rglob("*"))
        assert (
            "out has 3 of 3 sounds already"
            in recognize("calls", "-o", "out", *options)[2]
        )
        assert sorted(pathlib.Path("out").rglob("*")) == before
    other = {
        "coverage 0.5": ["--coverage=0.5"],
        "profile calls of 3 recordings": ["--adapt=calls"],
        "segments pauses": ["--timeline", "-f", "srt", "--segments=pauses"],
        "model ": ["--model=emodb-functionals"],
    }
    for what, options in other.items():
        status, _, told = recognize("calls", "-o", "out", *options)
        assert status == 1
        assert f"{what}" in told.partition("these would be by")[2]
        assert told.endswith("Give another folder, or delete this one.\n")
    pathlib.Path("out/.made_by").unlink()
    told = recognize("calls", "-o", "out")[2]
    assert "out: answers by a model that is not known are there" in told
