"""Every importer on a corpus laid out as its owner ships it; the sounds are tones."""

import pathlib

import numpy as np
import pytest
import soundfile

from jser.corpora import csv_rows, prepare, tables
from tests.helpers import tiny_corpus
from tests.helpers.corpora import (
    IEMOCAP,
    by_id,
    iemocap,
    msp_podcast,
    run,
    sounds,
    write_csv,
)
from tests.helpers.paths import SHARED

SOURCE = SHARED / "data" / "emodb"


@pytest.fixture
def msp(tmp_path) -> pathlib.Path:
    return msp_podcast(tmp_path / "msp")


def test_msp_podcast(msp, tmp_path):
    table = run("msp_podcast", msp, tmp_path)
    found = by_id(table)
    assert table.labels == (
        *("angry", "sad", "happy", "surprise"),
        *("fear", "disgust", "contempt", "neutral"),
    )
    assert table.excluded == {"no agreement (X)": 1, "other (O)": 1}
    first = found["MSP-PODCAST_0001_0000"]
    assert (first.emotion, first.speaker, first.gender) == ("angry", "12", "female")
    assert (first.arousal, first.valence, first.dominance) == (5.2, 2.0, 4.5)
    assert tables.votes(first) == {"angry": 2, "disgust": 1}
    assert first.transcript == "I told you."
    assert found["MSP-PODCAST_0001_0004"].split == "dev"
    assert found["MSP-PODCAST_0001_0005"].speaker == ""
    unlabelled = found["MSP-PODCAST_test3_0001"]
    assert (unlabelled.emotion, unlabelled.split) == ("", "test3")
    assert {found[f"MSP-PODCAST_0001_000{k}"].fold for k in (0, 1)} == {0, 1}
    assert "unlabelled" in prepare.describe(table)


def test_msp_podcast_counts_what_it_does_not_take(msp, tmp_path, caplog):
    sounds(msp / "Audios", ["MSP-PODCAST_0009_0001.wav", "._x.wav"])
    (msp / "Labels" / "labels.txt").write_text("MSP-PODCAST_0001_0000.wav; A;\n")
    table = run("msp_podcast", msp, tmp_path)
    assert table.excluded["sound file without a row in labels_consensus.csv"] == 1
    assert len(table.utterances) == 5
    assert "labels.txt: not read; the votes are labels_detailed.csv's" in caplog.text
    (msp / "Labels" / "labels_detailed.csv").unlink()
    run("msp_podcast", msp, tmp_path)
    assert "labels.txt: not read; there are no votes" in caplog.text


def test_a_transcript_that_is_not_utf8_is_named(msp, tmp_path):
    path = msp / "Transcripts" / "MSP-PODCAST_0001_0001.txt"
    path.write_bytes(b"one\nit\x92s fine")
    with pytest.raises(ValueError, match=r"0001_0001.txt: line 2 is not UTF-8; save"):
        run("msp_podcast", msp, tmp_path)


def test_msp_podcast_with_a_csv_of_transcripts(msp, tmp_path):
    names = [u.file for u in run("msp_podcast", msp, tmp_path).utterances]
    rows = [(n, f" words of {n}") for n in names]
    path = write_csv(tmp_path / "asr.csv", ("FileName", "transcription"), *rows)
    table = run("msp_podcast", msp, tmp_path, transcripts=path)
    assert table.utterances[0].transcript == f"words of {names[0]}"
    assert table.utterances[0].transcript_source == "asr.csv"
    write_csv(path, ("FileName", "transcription"), *rows[1:])
    with pytest.raises(ValueError, match="no transcript for 1 utterances"):
        run("msp_podcast", msp, tmp_path, transcripts=path)


def test_msp_podcast_refuses_what_it_does_not_know(msp, tmp_path):
    path = msp / "Labels" / "labels_consensus.csv"
    text = path.read_text()
    path.write_text(text.replace(",A,", ",Q,"))
    with pytest.raises(ValueError, match="unknown EmoClass 'Q'"):
        run("msp_podcast", msp, tmp_path)
    path.write_text(text.replace("Test1", "Test9"))
    with pytest.raises(ValueError, match="unknown split 'Test9'"):
        run("msp_podcast", msp, tmp_path)


def test_msp_podcast_shrinks_to_fewer_classes_with_its_votes(msp, tmp_path):
    merge = {"contempt": "disgust", "disgust": "angry", "surprise": "happy"}
    keep = ["angry", "happy", "neutral"]
    table = run("msp_podcast", msp, tmp_path, merge={"surprise": "happy"}, keep=keep)
    assert table.labels == ("angry", "happy", "neutral")
    found = by_id(table)
    assert found["MSP-PODCAST_0001_0004"].emotion == "happy"
    assert found["MSP-PODCAST_0001_0000"].votes == "angry:2"
    assert found["MSP-PODCAST_test3_0001"].emotion == ""
    assert table.excluded["not kept (contempt)"] == 1
    merged = run("msp_podcast", msp, tmp_path, merge=merge)
    assert merged.labels == ("angry", "sad", "happy", "fear", "disgust", "neutral")
    assert by_id(merged)["MSP-PODCAST_0001_0000"].votes == "angry:3"
    assert by_id(merged)["MSP-PODCAST_0001_0005"].emotion == "disgust"


def test_votes_without_a_majority_of_their_own_are_merged_too(msp, tmp_path):
    path = msp / "Labels" / "labels_consensus.csv"
    path.write_text(path.read_text().replace(",U,", ",N,").replace(",C,", ",N,"))
    table = run("msp_podcast", msp, tmp_path, merge={"disgust": "contempt"})
    assert by_id(table)["MSP-PODCAST_0001_0000"].votes == "angry:2 contempt:1"
    with pytest.raises(ValueError, match="--keep: the corpus has no happy; it has ang"):
        run("msp_podcast", msp, tmp_path, keep=["angry", "happy"])


def test_emodb(tmp_path):
    sounds(tmp_path / "wav", ["03a01Wa.wav", "08b10Nb.wav", "03a02Lc.wav"])
    found = by_id(run("emodb", tmp_path, tmp_path, policy="loso"))
    first = found["03a01Wa"]
    assert (first.emotion, first.speaker, first.gender) == ("angry", "03", "male")
    assert first.transcript == "Der Lappen liegt auf dem Eisschrank."
    assert (first.split, first.fold) == ("cv", 0)
    assert (found["08b10Nb"].gender, found["08b10Nb"].fold) == ("female", 1)
    assert found["03a02Lc"].emotion == "bored"


def test_emodb_refuses_other_names(tmp_path):
    sounds(tmp_path, ["03a01Qa.wav"])
    with pytest.raises(ValueError, match="not an EMO-DB name"):
        run("emodb", tmp_path, tmp_path, policy="loso")


@pytest.mark.skipif(not SOURCE.exists(), reason="EMO-DB is not in ../shared/data/emodb")
def test_the_real_emodb_agrees_with_its_own_labels(tmp_path):
    table = run("emodb", SOURCE, tmp_path, policy="loso")
    names = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
    names |= {"boredom": "bored"}
    labels = csv_rows.read_csv(SOURCE / "labels.csv", required=("file",))
    assert len(table.utterances) == len(labels) == 535
    found = by_id(table)
    for row in labels:
        u = found[pathlib.PurePosixPath(row["file"]).stem]
        assert u.emotion == names.get(row["emotion"], row["emotion"])
        assert (u.speaker, u.transcript) == (row["speaker"], row["transcript"])
        assert u.gender[0] == row["gender"]
        assert u.seconds == pytest.approx(float(row["seconds"]), abs=1e-4)


def test_ravdess(tmp_path):
    names = ["03-01-06-01-02-01-12", "03-01-02-01-01-01-01", "03-02-03-01-01-01-01"]
    sounds(tmp_path, [f"Actor_01/{n}.wav" for n in names])
    table = run("ravdess", tmp_path, tmp_path, policy="loso")
    found = by_id(table)
    first = found[names[0]]
    assert (first.emotion, first.speaker, first.gender) == ("fear", "12", "female")
    assert first.transcript == "Dogs are sitting by the door"
    assert found[names[1]].emotion == "calm"
    assert table.excluded == {"sung": 1}


def test_crema_d(tmp_path):
    sounds(tmp_path, ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_NEU_LO.wav"])
    header = ("ActorID", "Age", "Sex")
    rows = ((1001, 51, "Male"), (1002, 21, "Female"))
    write_csv(tmp_path / "VideoDemographics.csv", header, *rows)
    found = by_id(run("crema_d", tmp_path, tmp_path, policy="loso"))
    first = found["1001_DFA_ANG_XX"]
    assert (first.emotion, first.speaker, first.gender) == ("angry", "1001", "male")
    assert first.transcript == "Don't forget a jacket."
    assert found["1002_IEO_NEU_LO"].gender == "female"


def test_iemocap(tmp_path):
    table = run("iemocap", iemocap(tmp_path, IEMOCAP), tmp_path)
    found = by_id(table)
    first = found["Ses01F_impro01_F000"]
    assert (first.emotion, first.speaker, first.gender) == (
        "neutral",
        "Ses01F",
        "female",
    )
    assert (first.valence, first.arousal, first.dominance) == (2.5, 3.5, 1.5)
    assert (first.transcript, first.transcript_source) == ("Excuse me.", "corpus")
    assert (first.split, first.fold) == ("cv", 0)
    last = found["Ses02M_impro01_M000"]
    assert (last.fold, last.transcript, last.transcript_source) == (1, "", "")
    assert found["Ses01F_impro01_M001"].emotion == "excited"
    assert table.excluded == {"no agreement (xxx)": 1}
    merged = run("iemocap", tmp_path, tmp_path, merge={"excited": "happy"})
    assert by_id(merged)["Ses01F_impro01_M001"].emotion == "happy"


def test_iemocap_reads_turns_written_otherwise_and_counts_the_rest(tmp_path, caplog):
    turns = {
        "Ses01F_impro01_F000": "\tang\t[nan, nan, 2.0]",
        "Ses01F_impro01_F001": "  sad [2.5,2.0, 1.5]",
        "Ses01F_impro01_F002": "\tsad\t[2.5000, 2.0000]",
        "Ses01F_impro01_F003": "\tsad\t[2.5000, 2.0000, -]",
        "Ses01F_impro01_F004": "",
    }
    iemocap(tmp_path, turns)
    sounds(tmp_path / "Session1/sentences/wav/Ses01F_impro02", ["Ses01F_x_F000.wav"])
    table = run("iemocap", tmp_path, tmp_path)
    angry, sad = table.utterances
    assert (angry.emotion, angry.valence, angry.dominance) == ("angry", None, 2.0)
    assert (sad.emotion, sad.valence, sad.dominance) == ("sad", 2.5, 1.5)
    assert table.excluded == {
        "label line that cannot be read": 3,
        "sound file without a label line": 4,
    }
    assert "Ses01F_impro01.txt: line 15 left out" in caplog.text


def test_csv_with_any_labels(tmp_path):
    sounds(tmp_path, ["x/one.wav", "x/two.flac"])
    path = write_csv(
        tmp_path / "mine.csv",
        ("file", "emotion", "speaker", "mood", "split", "transcript"),
        ("x/one.wav", "grumpy", "s1", "?", "train", "Hm."),
        ("x\\two.flac", "sad", "s2", "?", "dev", ""),
    )
    table = run("csv", path, tmp_path)
    assert table.labels == ("sad", "grumpy")
    assert [u.utt_id for u in table.utterances] == ["x/one", "x/two"]
    assert [u.file for u in table.utterances] == ["x/one.wav", "x/two.flac"]
    assert [u.transcript_source for u in table.utterances] == ["corpus", ""]


def test_csv_with_sounds_elsewhere(tmp_path):
    sounds(tmp_path / "sound", ["one.wav"])
    rows = (("file", "emotion", "split"), ("one.wav", "sad", "train"))
    path = write_csv(tmp_path / "labels" / "mine.csv", *rows)
    with pytest.raises(ValueError, match="1 of 1 sound files are missing"):
        run("csv", path, tmp_path)
    table = run("csv", path, tmp_path, audio_root=tmp_path / "sound")
    assert table.audio_path(table.utterances[0]).is_file()


def test_a_relative_source_is_found_again_from_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sounds(tmp_path / "mine", ["one.wav"])
    rows = (("file", "emotion", "split"), ("one.wav", "sad", "train"))
    write_csv(tmp_path / "mine" / "mine.csv", *rows)
    out = pathlib.Path("data/mine")
    prepare.prepare("csv", pathlib.Path("mine/mine.csv"), out)
    table = tables.read(tmp_path / out)
    assert table.audio_root == "../../mine"
    assert table.audio_path(table.utterances[0]).is_file()


@pytest.mark.parametrize("file", ["../one.wav", "/one.wav"])
def test_a_path_that_escapes_its_root_is_refused(tmp_path, file):
    rows = (("file", "emotion", "split"), (file, "sad", "train"))
    with pytest.raises(ValueError, match="outside the audio root"):
        run("csv", write_csv(tmp_path / "mine.csv", *rows), tmp_path)


def test_folder(tmp_path):
    sounds(tmp_path / "in", ["sad/a.wav", "sad/b.wav", "joy/deep/a.wav"])
    sounds(tmp_path / "in", ["joy/c.wav", "sad/d.wav", "joy/e.wav", "sad/f.wav"])
    with pytest.raises(ValueError, match=r"no speaker.*--split utterances"):
        run("folder", tmp_path / "in", tmp_path, policy="speakers")
    for k, path in enumerate(sorted((tmp_path / "in").rglob("*.wav"))):
        soundfile.write(path, tiny_corpus.tone(300 + 10 * k, 0.1), 16_000)
    table = run("folder", tmp_path / "in", tmp_path, policy="utterances", folds=2)
    assert table.labels == ("sad", "joy")
    assert "joy/deep/a" in by_id(table)
    assert "flattered" in prepare.describe(table)


def test_one_recording_on_two_sides_is_refused(tmp_path):
    sounds(tmp_path, ["a.wav", "b.wav"])
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    header = ("file", "emotion", "split")
    rows = (header, ("a.wav", "sad", "train"), ("b.wav", "sad", "dev"))
    with pytest.raises(ValueError, match="the same recording on two sides"):
        run("csv", write_csv(tmp_path / "mine.csv", *rows), tmp_path)


def test_keep_counts_what_goes(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    table = run("csv", path, tmp_path, keep=["angry", "sad"])
    assert table.labels == ("angry", "sad")
    assert table.excluded == {"not kept (neutral)": 20}
    with pytest.raises(ValueError, match="the corpus has no joy"):
        run("csv", path, tmp_path, keep=["joy"])
    with pytest.raises(ValueError, match=r"--keep: .* has no sad; it has angry, neut"):
        run("csv", path, tmp_path, merge={"sad": "angry"}, keep=["sad"])


def test_a_table_edited_by_hand_is_taken_again(tmp_path):
    table = run("csv", tiny_corpus.make(tmp_path / "in"), tmp_path)
    path = table.folder / "table.csv"
    path.write_text(path.read_text().replace(",angry,", ",furious,", 3))
    again = prepare.prepare("table", table.folder, table.folder)
    assert again.labels == ("angry", "sad", "neutral", "furious")
    assert (again.source, again.split_policy) == ("csv", "given")
    assert tables.read(table.folder).fingerprint == again.fingerprint
    assert again.audio_path(again.utterances[0]).is_file()


def test_an_unreadable_header_leaves_the_duration_open(tmp_path):
    path = tiny_corpus.make(tmp_path / "in")
    (path.parent / "a_angry_0.wav").write_bytes(b"no sound at all")
    table = run("csv", path, tmp_path)
    assert by_id(table)["a_angry_0"].seconds is None
    assert "1 sound files whose header cannot be read" in prepare.describe(table)


def test_unknown_corpus_and_source(tmp_path):
    with pytest.raises(ValueError, match="'x' is not one of msp_podcast, emodb"):
        run("x", tmp_path, tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        run("csv", tmp_path / "no.csv", tmp_path)


def test_demo_corpus_is_made_by_seed(tmp_path, monkeypatch):
    from jser.corpora import demo

    monkeypatch.setattr(demo, "SPEAKERS", 4)
    monkeypatch.setattr(demo, "UTTERANCES_PER_EMOTION", 1)
    made = {}
    for name, seed in (("a", 0), ("again", 0), ("other", 1)):
        made[name] = prepare.prepare(
            "demo", tmp_path / name, tmp_path / "out", policy="speakers", seed=seed
        )
    digests = {n: [u.sha256 for u in t.utterances] for n, t in made.items()}
    assert digests["a"] == digests["again"]
    assert not set(digests["a"]) & set(digests["other"])
    table = made["a"]
    assert table.source == "demo"
    assert len(table.labels) == 8
    assert all(1 <= (u.seconds or 0) <= 4 for u in table.utterances)
    assert all(u.transcript for u in table.utterances)
    levels = [
        np.abs(soundfile.read(tmp_path / "a" / u.file)[0]).max()
        for u in table.utterances
    ]
    assert max(levels) < 0.999
