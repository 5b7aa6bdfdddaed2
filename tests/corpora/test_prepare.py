"""What `prepare` does with any corpus: says what it leaves out, refuses, records."""

import csv
import pathlib

import numpy as np
import pytest
import soundfile

from jser.corpora import prepare, problems, tables
from jser.report import subjects
from jser.roots import Roots
from tests.helpers import tiny_corpus


def run(source, tmp_path, **options) -> tables.Table:
    return prepare.prepare("csv", source, tmp_path / "out", **options)


def test_an_emotion_spelled_in_two_ways_is_warned_of_and_can_be_mended(
    tmp_path, caplog
):
    path = tiny_corpus.make(tmp_path / "in")
    path.write_text(path.read_text().replace(",angry,a,", ",ANG,a,"))
    assert "ANG" in run(path, tmp_path).labels
    assert "ANG look like other spellings of angry. --merge ANG=angry" in caplog.text
    caplog.clear()
    table = run(path, tmp_path, merge={"ANG": "angry"})
    assert table.labels == tiny_corpus.EMOTIONS
    assert not caplog.text


def test_cells_that_a_spreadsheet_would_run_are_warned_of_and_stay(tmp_path, caplog):
    path = tiny_corpus.make(tmp_path / "in")
    text = path.read_text().replace(",angry,", ",=angry,")
    path.write_text(text.replace("a_sad_0.wav", "@sad.wav"))
    (path.parent / "a_sad_0.wav").rename(path.parent / "@sad.wav")
    with caplog.at_level("WARNING"):
        table = run(path, tmp_path)
    (told,) = (r.getMessage() for r in caplog.records if "spreadsheet" in r.msg)
    assert told.startswith("2 ids or labels begin with one of = + - @, as '@sad'")
    assert "=angry" in table.labels
    assert "\n@sad,@sad.wav,sad," in (tmp_path / "out" / "table.csv").read_text()


def listed(tmp_path) -> list[dict[str, str]]:
    path = tmp_path / "out" / problems.NAME
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_all_missing_files_are_listed_and_five_are_named(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    gone = sorted(path.parent.glob("a_*.wav"))
    for sound in gone:
        sound.unlink()
    with pytest.raises(ValueError, match="12 of 60 sound files are missing") as e:
        run(path, tmp_path)
    assert str(e.value).count("'a_") == 5
    assert "--skip_missing" in str(e.value)
    assert str(tmp_path / "out" / problems.NAME) in str(e.value)
    assert [row["file"] for row in listed(tmp_path)] == [p.name for p in gone]


def test_missing_files_can_be_left_out(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    for sound in path.parent.glob("a_*.wav"):
        sound.unlink()
    table = run(path, tmp_path, skip_missing=True)
    assert len(table.utterances) == 48
    assert table.excluded == {"sound file missing": 12}
    assert {row["problem"] for row in listed(tmp_path)} == {
        "12 sound files are missing and left out"
    }


def test_all_kinds_of_fault_are_listed(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    text = path.read_text().replace("a_sad_0.wav,sad,a,train", "a_sad_0.wav,,a,train")
    path.write_text(text.replace("b_sad_0.wav,sad,b,train", "b_sad_0.wav,sad,b,Dev!"))
    with pytest.raises(ValueError, match=r"without a proper split name: 1, e.g. 'b_"):
        run(path, tmp_path)
    count = {(row["problem"], row["utt_id"]) for row in listed(tmp_path)}
    assert ("rows without a proper split name: 1", "b_sad_0") in count
    assert ("unlabelled utterances outside the test splits: 1", "a_sad_0") in count
    assert sum("more than one split" in problem for problem, _ in count) == 12


def test_all_recordings_on_two_sides_are_listed_side_by_side(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    for k in range(3):
        sound = (path.parent / f"a_sad_{k}.wav").read_bytes()
        (path.parent / f"e_sad_{k}.wav").write_bytes(sound)
    with pytest.raises(ValueError, match="3 times the same recording on two sides"):
        run(path, tmp_path)
    ids = [row["utt_id"] for row in listed(tmp_path)]
    assert ids == [f"{speaker}_sad_{k}" for k in range(3) for speaker in "ae"]


def test_empty_files_are_no_recording(tmp_path, caplog):
    path = tiny_corpus.make(tmp_path / "in")
    for speaker in "ae":
        (path.parent / f"{speaker}_sad_0.wav").write_bytes(b"")
    (path.parent / "b_sad_0.wav").write_bytes(b"no sound at all")
    table = run(path, tmp_path)
    assert sum(u.seconds is None for u in table.utterances) == 3
    assert "2 sound files are empty, of 0 bytes, e.g. 'a_sad_0', 'e_sad" in caplog.text
    assert "1 sound files have a header that cannot be read" in caplog.text
    assert len(listed(tmp_path)) == 3
    run(tiny_corpus.make(tmp_path / "whole"), tmp_path)
    assert not (tmp_path / "out" / problems.NAME).exists()


def test_silent_and_clipped_sounds_are_marked_and_counted(tmp_path, caplog):
    path = tiny_corpus.make(tmp_path / "in")
    before = run(path, tmp_path)
    for name, samples in {
        "a_sad_0": np.zeros(8000),
        "b_sad_0": np.sign(tiny_corpus.tone(440, 0.5)),
        "c_sad_0": np.stack([tiny_corpus.tone(440, 0.5)] * 2, 1) * [1, -1],
    }.items():
        soundfile.write(path.parent / f"{name}.wav", samples, 16_000)
    table = run(path, tmp_path)
    notes = {u.utt_id: u.sound_note for u in table.utterances if u.sound_note}
    assert notes == {
        "a_sad_0": "silent",
        "b_sad_0": "clipped",
        "c_sad_0": "channels cancel",
    }
    assert tables.read(tmp_path / "out").utterances == table.utterances
    assert "1 sounds are marked 'silent', e.g. 'a_sad_0'" in caplog.text
    assert "clipped: 1 sounds" in prepare.describe(table)
    assert "sound_note" not in tables._to_csv(before.utterances)
    assert len(listed(tmp_path)) == 3


def test_files_that_end_too_early_are_told_before_extraction(tmp_path, caplog):
    path = tiny_corpus.make(tmp_path / "in")
    sound = path.parent / "a_sad_0.wav"
    sound.write_bytes(sound.read_bytes()[:-2000])
    run(path, tmp_path)
    assert "1 sound files cannot be decoded to their end, e.g. 'a_sad" in caplog.text


def shared_corpus(tmp_path) -> pathlib.Path:
    """Speaker a is in train and, for once, in test."""
    path = tiny_corpus.make(tmp_path / "in")
    path.write_text(path.read_text().replace("_0.wav,sad,a,train", "_0.wav,sad,a,test"))
    return path


def test_splits_that_share_speakers_are_kept_on_demand_and_said_to(
    tmp_path, monkeypatch
):
    path = shared_corpus(tmp_path)
    with pytest.raises(ValueError, match=r"'a' in test and train.*--allow_shared_spea"):
        run(path, tmp_path)
    run(path, tmp_path, allow_shared_speakers=True)
    table = tables.read(tmp_path / "out")
    assert table.allow_shared_speakers
    assert "flattered" in prepare.describe(table)
    monkeypatch.setattr(subjects, "failures", lambda members, roots: {})
    notes = subjects.notes([tiny_corpus.experiment()], Roots(), table)
    assert any("Speakers are shared" in note for note in notes)
    again = prepare.prepare("table", tmp_path / "out", tmp_path / "again")
    assert again.allow_shared_speakers
    apart = prepare.prepare(
        "table", tmp_path / "out", tmp_path / "apart", policy="speakers"
    )
    assert not apart.allow_shared_speakers


def test_splits_that_share_none_are_not_said_to(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    assert not run(path, tmp_path, allow_shared_speakers=True).shares_speakers


def test_a_table_read_again_keeps_its_source_and_first_command(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    options = {"policy": "kfold", "folds": 3}
    first = run(path, tmp_path, command="jser prepare one", **options)
    folder = tmp_path / "out"
    for _ in range(2):
        again = prepare.prepare("table", folder, folder, command="jser prepare two")
    assert (again.source, again.command) == ("csv", "jser prepare one")
    assert again.split_policy == "given"
    assert again.fingerprint == first.fingerprint
    fewer = prepare.prepare("table", folder, folder, keep=["sad"], command="jser three")
    assert fewer.command == "jser prepare one\njser three"


def test_speakers_shared_by_drawing_utterances_stay_said_to_be(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    run(path, tmp_path, policy="utterances")
    again = prepare.prepare("table", tmp_path / "out", tmp_path / "again")
    assert (again.split_policy, again.shares_speakers) == ("given", True)
