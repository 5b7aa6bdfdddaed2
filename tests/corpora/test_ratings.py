"""What each rater said: how it is written, read, restricted and merged."""

import dataclasses
import pathlib

import pytest

from jser.corpora import prepare, ratings, tables
from jser.corpora.ratings import Rating
from jser.corpora.utterances import Utterance
from tests.helpers.corpora import (
    IEMOCAP,
    MSP_HEADER,
    by_id,
    iemocap,
    msp_podcast,
    run,
    sounds,
    write_csv,
)

LABELS = ("angry", "sad", "neutral")


@pytest.fixture
def msp(tmp_path) -> pathlib.Path:
    return msp_podcast(tmp_path / "msp")


def row(said: str, **changes) -> Utterance:
    base = {"utt_id": "a", "file": "a.wav", "emotion": "sad", "split": "train"}
    return Utterance(**(base | {"ratings": said} | changes))


def digest(table: tables.Table) -> str:
    """Of all but the sounds, whose last bits are the machine's."""
    rows = tuple(dataclasses.replace(u, sha256="") for u in table.utterances)
    return dataclasses.replace(table, utterances=rows).fingerprint


def test_ratings_are_read_as_they_are_written():
    text = "angry+sad neutral +sad angry"
    found = ratings.parse(row(text))
    assert found == [
        Rating("angry", ("sad",)),
        Rating("neutral", ()),
        Rating("", ("sad",)),
        Rating("angry", ()),
    ]
    assert ratings.text(found) == text
    assert ratings.parse(row("")) == []
    assert ratings.primary_votes(found, LABELS) == "angry:2 neutral:1"
    assert ratings.primary_votes(found, LABELS[::-1]) == "neutral:1 angry:2"


@pytest.mark.parametrize("said", ["+", "angry+", "angry++sad", "sad angry+angry"])
def test_ratings_that_are_none_are_refused(said):
    with pytest.raises(ValueError, match=r"a: bad ratings '.*'\. Ratings read 'angry"):
        ratings.parse(row(said))
    table = tables.Table(utterances=(row(said),), labels=LABELS, audio_root=".")
    with pytest.raises(ValueError, match=r"bad ratings: 1, e\.g\. 'a'"):
        tables.check(table, "table.csv")


def test_ratings_of_no_emotion_of_the_table_are_refused():
    table = tables.Table(utterances=(row("joy+sad"),), labels=LABELS, audio_root=".")
    with pytest.raises(ValueError, match="bad ratings: 1"):
        tables.check(table, "table.csv")


def test_what_is_none_of_the_labels_is_left_out_and_repeats_are_one():
    said = [
        Rating("angry", ("angry", "annoyed", "sad", "sad")),
        Rating("other-bored", ("sad",)),
        Rating("other", ("annoyed",)),
    ]
    assert ratings.within(said, LABELS) == [
        Rating("angry", ("sad",)),
        Rating("", ("sad",)),
    ]


def test_a_row_without_a_majority_may_be_in_any_split(tmp_path):
    undecided = row("angry neutral", utt_id="b", emotion="", votes="angry:1 neutral:1")
    labelled = row("sad")
    table = tables.Table(
        utterances=(labelled, undecided), labels=LABELS, audio_root="."
    )
    tables.write(table, tmp_path)
    found = tables.read(tmp_path)
    assert found.utterances == (labelled, undecided)
    assert [tables.without_majority(u) for u in found.utterances] == [False, True]
    assert tables.counts(found)["train"] == {
        **{"angry": 0, "sad": 1, "neutral": 0},
        "undecided": 1,
    }
    bare = row("", emotion="")
    assert not tables.without_majority(bare)
    with pytest.raises(ValueError, match="unlabelled utterances outside the test spl"):
        tables.check(dataclasses.replace(table, utterances=(bare,)), "table.csv")


def test_the_column_is_there_only_where_a_row_has_it(tmp_path):
    bare = dataclasses.replace(row("sad"), ratings="")
    for said, there in (("sad", True), ("", False)):
        one = dataclasses.replace(bare, ratings=said)
        tables.write(
            tables.Table(utterances=(one,), labels=LABELS, audio_root="."), tmp_path
        )
        header = (tmp_path / "table.csv").read_text().partition("\n")[0].split(",")
        assert ("ratings" in header) == there


DETAILED = (
    ("Angry", "Angry,Annoyed,Sad"),
    ("angry ", " Disgust , sad"),
    ("Disgust", ""),
    ("Other-fed up", "Sad,Frustrated"),
    ("Other", "Annoyed"),
)
UNDECIDED = (("Happy", "Happy,Amused"), ("Sad", "Sad"), ("Other-longing", ""))


def detailed(home: pathlib.Path, layout: str) -> None:
    """Writes what each worker said of the first and third clip, as a release does."""
    said = {0: DETAILED, 2: UNDECIDED, 3: (("Other-proud", "Amused"),)}
    rows = []
    for k, raters in said.items():
        name = f"MSP-PODCAST_0001_{k:04d}.wav"
        for number, (first, second) in enumerate(raters):
            worker = f"WORKER{number:08d}"
            if layout == "EmoDetail":
                values = "A:4.000000; V:3.000000; D:4.000000;"
                rows.append((name, f"{worker}; {first}; {second}; {values}"))
            else:
                rows.append((name, worker, first, second, 4, 3, 4))
    columns = ("FileName", "WorkerID", "EmoClass_Major", "EmoClass_Second")
    header = (*columns, "EmoAct", "EmoVal", "EmoDom")
    header = ("FileName", "EmoDetail") if layout == "EmoDetail" else header
    write_csv(home / "Labels" / "labels_detailed.csv", header, *rows)


@pytest.mark.parametrize("layout", ["EmoDetail", "columns"])
def test_msp_podcast_keeps_what_each_worker_said(msp, tmp_path, caplog, layout):
    detailed(msp, layout)
    with caplog.at_level("INFO"):
        table = run("msp_podcast", msp, tmp_path, keep_no_agreement=True)
    found = by_id(table)
    first, third = (found[f"MSP-PODCAST_0001_000{k}"] for k in (0, 2))
    assert first.emotion == "angry"
    assert first.votes == "angry:2 disgust:1"
    assert first.ratings == "angry+sad angry+disgust+sad disgust +sad"
    assert (third.emotion, third.split) == ("", "train")
    assert (third.votes, third.ratings) == ("sad:1 happy:1", "happy sad")
    assert found["MSP-PODCAST_0001_0001"].ratings == ""
    assert table.excluded == {"other (O), and no vote for an emotion": 1}
    assert "4 votes left out, as " in caplog.text
    assert "5 secondary emotions left out, as 'annoyed', 'amused'" in caplog.text
    assert tables.read(tmp_path / "out").utterances == table.utterances
    told = prepare.describe(table)
    assert "1 utterances are undecided, without a majority: they train with " in told
    assert "undecided" in told.splitlines()[0]


@pytest.mark.parametrize("layout", ["EmoDetail", "columns"])
def test_msp_podcast_without_the_option_has_votes_alone(msp, tmp_path, layout):
    detailed(msp, layout)
    table = run("msp_podcast", msp, tmp_path)
    assert by_id(table)["MSP-PODCAST_0001_0000"].votes == "angry:2 disgust:1"
    assert not any(u.ratings for u in table.utterances)
    assert table.excluded == {"no agreement (X)": 1, "other (O)": 1}


def test_msp_podcast_says_what_it_lacks(msp, tmp_path):
    path = msp / "Labels" / "labels_detailed.csv"
    write_csv(path, ("FileName", "Emotion"), ("x.wav", "Sad"))
    with pytest.raises(
        ValueError, match="no column EmoClass_Major, nor EmoDetail; the"
    ):
        run("msp_podcast", msp, tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"labels_detailed.csv: not there, and --keep"):
        run("msp_podcast", msp, tmp_path, keep_no_agreement=True)


def test_merging_and_keeping_act_on_ratings_as_on_votes(msp, tmp_path):
    detailed(msp, "columns")
    options = {"keep_no_agreement": True, "merge": {"disgust": "angry"}}
    found = by_id(run("msp_podcast", msp, tmp_path, **options))
    first = found["MSP-PODCAST_0001_0000"]
    assert first.ratings == "angry+sad angry+sad angry +sad"
    assert first.votes == "angry:3"
    keep = ["angry", "neutral"]
    table = run("msp_podcast", msp, tmp_path, keep=keep, **options)
    found = by_id(table)
    assert found["MSP-PODCAST_0001_0000"].ratings == "angry angry angry"
    assert "MSP-PODCAST_0001_0002" not in found
    assert table.excluded["no majority, and no vote for an emotion kept"] == 1


@pytest.mark.parametrize("policy", ["speakers", "kfold", "utterances", "stratified"])
def test_splits_are_drawn_over_rows_without_a_majority(msp, tmp_path, policy):
    detailed(msp, "columns")
    names = [f"MSP-PODCAST_0001_000{k}.wav" for k in range(6)]
    rows = [
        (n, "AXXXNS"[k], 4, 4, 4, k + 1, "Male", "Train") for k, n in enumerate(names)
    ]
    write_csv(msp / "Labels" / "labels_consensus.csv", MSP_HEADER, *rows)
    (msp / "Audios" / "MSP-PODCAST_test3_0001.wav").unlink()
    table = run(
        "msp_podcast", msp, tmp_path, policy=policy, folds=2, keep_no_agreement=True
    )
    assert sum(map(tables.without_majority, table.utterances)) == 1
    assert all(u.split for u in table.utterances)


def evaluated(home: pathlib.Path) -> None:
    """Turns with what evaluators and speakers said of them."""
    iemocap(home, IEMOCAP)
    folder = home / "Session1" / "dialog" / "EmoEvaluation"
    lines = (
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
        "",
        "[6.29 - 8.23]\tSes01F_impro01_F000\tneu\t[2.5000, 3.5000, 1.5000]",
        "C-E2:\tNeutral;\t()",
        "C-E3:\tNeutral state; Frustration; Anger;\t()",
        "C-E4:\tOther; Excited;\t(amused (very))",
        "C-F1:\tExcited;\t(curious)",
        "A-E3:\tval 3; act 2; dom  2;\t()",
        "",
        "[8.29 - 9.23]\tSes01F_impro01_M001\texc\t[4.0000, 4.0000, 3.0000]",
        "C-E1:\tExcited; Happiness;\t()",
        "",
        "[9.29 - 9.83]\tSes01F_impro01_M002\txxx\t[4.0000, 4.0000, 3.0000]",
        "C-E1:\tNeutral;\t()",
        "C-E2:\tFrustration;\t()",
        "C-E3:\tExcited;\t()",
        "C-M1:\tExcited;\t()",
        "",
        "C-E1:\tExcited;\t(of no turn)",
    )
    (folder / "Ses01F_impro01.txt").write_text("\n".join(lines))


def test_iemocap_keeps_what_evaluators_said(tmp_path, caplog):
    evaluated(tmp_path)
    with caplog.at_level("INFO"):
        table = run("iemocap", tmp_path, tmp_path, keep_no_agreement=True)
    found = by_id(table)
    assert table.labels == ("neutral", "excited", "frustrated")
    assert not table.excluded
    first = found["Ses01F_impro01_F000"]
    assert (first.votes, first.ratings) == (
        "neutral:2",
        "neutral neutral+frustrated +excited",
    )
    assert found["Ses01F_impro01_M001"].ratings == "excited"
    undecided = found["Ses01F_impro01_M002"]
    assert tables.without_majority(undecided)
    assert undecided.votes == "neutral:1 excited:1 frustrated:1"
    assert undecided.fold == 0
    # Anger, other and happiness, which no turn here is of.
    assert "3 votes left out, as 'angry', 'other', 'happy'" in caplog.text


def test_iemocap_leaves_out_what_nobody_heard_an_emotion_in(tmp_path):
    evaluated(tmp_path)
    path = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    lines = path.read_text().replace("\txxx\t", "\toth\t")
    for word in ("E1:\tNeutral;\t()", "E2:\tFrustration", "E3:\tExcited;"):
        lines = lines.replace(f"C-{word}", "C-E9:\tOther;")
    path.write_text(lines)
    table = run("iemocap", tmp_path, tmp_path, keep_no_agreement=True)
    assert table.excluded == {"other (oth), and no vote for an emotion": 1}
    assert len(table.utterances) == 3


def voted(home: pathlib.Path) -> None:
    sounds(home, ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_NEU_LO.wav"])
    counts = ("A", "D", "F", "H", "N", "S")
    write_csv(
        home / "processedResults" / "tabulatedVotes.csv",
        ("", *counts, "fileName", "numResponses", "agreement", "emoVote"),
        (100001, 2, 1, 0, 0, 3, 0, "1001_DFA_ANG_XX", 6, 0.5, "N"),
        (200001, 9, 0, 0, 0, 0, 0, "1001_DFA_ANG_XX", 9, 1, "A"),
        (300001, 8, 0, 0, 0, 0, 0, "1001_DFA_ANG_XX", 8, 1, "A"),
    )


def test_crema_d_keeps_what_was_heard_in_the_voice(tmp_path):
    voted(tmp_path)
    options = {"policy": "loso", "keep_no_agreement": True}
    first, second = run("crema_d", tmp_path, tmp_path, **options).utterances
    assert first.emotion == "angry"
    assert first.votes == "angry:2 neutral:3"  # No clip here is of disgust.
    assert first.ratings == "angry angry neutral neutral neutral"
    assert (second.votes, second.ratings) == ("", "")


def test_crema_d_says_what_is_wrong_with_its_votes(tmp_path):
    voted(tmp_path)
    options = {"policy": "loso", "keep_no_agreement": True}
    path = tmp_path / "processedResults" / "tabulatedVotes.csv"
    path.write_text(path.read_text().replace("100001,2", "100001,two"))
    with pytest.raises(ValueError, match=r"1001_DFA_ANG_XX: .*'two'.* whole numbers"):
        run("crema_d", tmp_path, tmp_path, **options)
    path.unlink()
    with pytest.raises(ValueError, match=r"tabulatedVotes.csv: not there, and --keep"):
        run("crema_d", tmp_path, tmp_path, **options)


def test_a_csv_may_have_ratings(tmp_path):
    sounds(tmp_path, ["a.wav", "b.wav", "c.wav"])
    path = write_csv(
        tmp_path / "mine.csv",
        ("file", "emotion", "split", "ratings"),
        ("a.wav", "grumpy", "train", "grumpy+sad grumpy"),
        ("b.wav", "sad", "train", ""),
        ("c.wav", "", "train", "sad grumpy"),
    )
    table = run("csv", path, tmp_path)
    assert [u.ratings for u in table.utterances] == [
        "grumpy+sad grumpy",
        "",
        "sad grumpy",
    ]
    assert tables.without_majority(table.utterances[2])
    again = prepare.prepare("table", tmp_path / "out", tmp_path / "again")
    assert again.fingerprint == table.fingerprint
    merged = run("csv", path, tmp_path, merge={"grumpy": "sad"})
    assert [u.ratings for u in merged.utterances] == ["sad sad", "", "sad sad"]
    assert merged.utterances[2].emotion == ""
    with pytest.raises(ValueError, match="--keep_no_agreement: csv has no raters that"):
        run("csv", path, tmp_path, keep_no_agreement=True)


def test_without_the_option_tables_are_what_they_were(msp, tmp_path):
    """Digests of what importers made before there were ratings."""
    merge = {"contempt": "disgust", "disgust": "angry", "surprise": "happy"}
    evaluations = iemocap(tmp_path / "iemocap", IEMOCAP)
    acted = tmp_path / "acted"
    sounds(acted, ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_NEU_LO.wav"])
    made = [
        run("msp_podcast", msp, tmp_path),
        run("msp_podcast", msp, tmp_path, merge=merge),
        run("iemocap", evaluations, tmp_path),
        run("crema_d", acted, tmp_path, policy="loso"),
    ]
    assert [digest(table) for table in made] == [
        "d756c0cbcb4106af",
        "20cb295aa9157b33",
        "12ebd12849279a27",
        "0c2965c00b288323",
    ]
    assert made[0].excluded == {"no agreement (X)": 1, "other (O)": 1}
    assert made[2].excluded == {"no agreement (xxx)": 1}
