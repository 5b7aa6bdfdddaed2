import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jser.corpora import csv_rows, tables, utterances
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance

LABELS = ("angry", "sad")


def row(utt_id: str, **changes) -> Utterance:
    base = {"file": f"{utt_id}.wav", "emotion": "sad", "split": "train"}
    return Utterance(utt_id=utt_id, **(base | changes))


def table(*rows: Utterance, **changes) -> Table:
    base = {"labels": LABELS, "audio_root": "audio", "source": "csv"}
    return Table(utterances=rows, **(base | changes))


def test_written_and_read_again_it_is_the_same(tmp_path):
    rows = (
        row("a", speaker="1", transcript='He said: "no", and left', fold=0),
        row("b", speaker="2", seconds=1.25, valence=3.5, votes="sad:3 angry:1", fold=1),
        row("c", emotion="", split="test", speaker="3", transcript="日本語 🙂"),
    )
    tables.write(table(*rows, excluded={"other": 2}, command="make"), tmp_path)
    found = tables.read(tmp_path)
    assert found.utterances == rows
    assert found.labels == LABELS
    assert (found.excluded, found.command) == ({"other": 2}, "make")


@given(
    st.text(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
        max_size=40,
    )
)
def test_any_transcript_survives(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("t")
    tables.write(table(row("a", transcript=text)), folder)
    assert tables.read(folder).utterances[0].transcript == " ".join(text.split())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "no utterances"),
        ((row("a"), row("a")), "duplicate utt_id: 2, e.g. 'a'"),
        ((row(""),), "empty utt_id"),
        ((row("a\nb"),), "control characters"),
        ((row("a", emotion="joy"),), "unknown emotions: 1.*label set is angry, sad"),
        ((row("a", emotion=""),), "unlabelled utterances outside the test splits"),
        ((row("a", split=""),), "without a proper split name"),
        ((row("a", split="../x"),), "without a proper split name"),
        ((row("a", file="../a.wav"),), "outside the audio root"),
        ((row("a", file="/etc/a.wav"),), "outside the audio root"),
        ((row("a", file="C:\\a.wav"),), "outside the audio root"),
        ((row("a", file="x\\..\\..\\a.wav"),), "outside the audio root"),
        ((row("a", votes="joy:1"),), "bad votes"),
        ((row("a", votes="sad"),), "bad votes"),
        ((row("a", votes="sad:-1"),), "bad votes"),
        ((row("a", votes="sad:1e400"),), "bad votes"),
        ((row("a", votes="sad:nan"),), "bad votes"),
        (
            (row("a", speaker="1"), row("b", speaker="1", split="dev")),
            "'1' in dev and train.*jser prepare --split speakers",
        ),
        (
            (row("a", speaker="1", fold=0), row("b", speaker="1", fold=1)),
            "more than one fold",
        ),
    ],
)
def test_faults_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        tables.check(table(*rows), "table.csv")


def test_unknown_speakers_may_be_in_two_splits():
    tables.check(table(row("a"), row("b", split="dev")), "table.csv")


def test_an_edited_table_must_be_prepared_again(tmp_path):
    tables.write(table(row("a"), row("b")), tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(path.read_text().replace("sad", "angry", 1))
    with pytest.raises(ValueError, match="jser prepare --corpus table"):
        tables.read(tmp_path)


def test_rows_are_digested_once(monkeypatch):
    """Every run whose logits are read asks for the fingerprint."""
    mine, digested = table(row("a")), []
    to_csv = tables._to_csv
    monkeypatch.setattr(
        tables, "_to_csv", lambda rows: digested.append(rows) or to_csv(rows)
    )
    assert mine.fingerprint == mine.fingerprint
    assert len(digested) == 1
    other = dataclasses.replace(mine, utterances=(row("b"),))
    assert other.fingerprint != mine.fingerprint


def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    tables.write(table(row("a"), row("b")), tmp_path)
    path = tmp_path / "table.csv"
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [u.utt_id for u in tables.read(tmp_path).utterances] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file;emotion\na.wav;sad\n", "no column file, emotion; the header is"),
        (b"file,emotion\na.wav\n", "line 2: 1 cells under 2 columns"),
        (b"file,emotion\na.wav,tr\xfcb\n", "line 2 is not UTF-8"),
        (b"", "the header is empty"),
        (b"file,emotion,file,,\na,sad,b,,\n", "several columns are named file"),
        (b'file,emotion\n"a.wav,sad\n', "line 2"),
    ],
)
def test_broken_csv_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        csv_rows.read_csv(path, required=("file", "emotion"))


@pytest.mark.parametrize("cell", ["loud", "nan", "inf"])
def test_a_number_that_is_none_is_refused(cell):
    with pytest.raises(ValueError, match=f"x.csv: a: arousal is '{cell}'"):
        utterances.parse({"utt_id": "a", "arousal": cell}, "x.csv")


def test_a_fold_may_be_written_as_a_float():
    cells = {"utt_id": "a", "file": "a.wav"}
    folds = [utterances.parse(cells | {"fold": f}, "x").fold for f in ("0.0", "3", "")]
    assert folds == [0, 3, None]
    assert isinstance(folds[0], int)
    for text in ("0.5", "one", "nan"):
        with pytest.raises(ValueError, match=f"x: a: fold is '{text}', no whole numb"):
            utterances.parse(cells | {"fold": text}, "x")


def test_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"jser prepare"):
        tables.read(tmp_path)


def test_labels_splits_and_folds_are_no_part_of_what_front_ends_read():
    one = row("a", transcript="hi", sha256="0f")
    other = dataclasses.replace(one, emotion="angry", split="dev", fold=3)
    for kind in ("speech", "text"):
        assert tables.input_digest(one, kind) == tables.input_digest(other, kind)
    changed = dataclasses.replace(one, transcript="ho")
    assert tables.input_digest(one, "text") != tables.input_digest(changed, "text")


def test_votes_are_summed_by_emotion():
    assert tables.votes(row("a", votes="sad:1 angry:2 sad:0.5")) == {
        "sad": 1.5,
        "angry": 2,
    }
    with pytest.raises(ValueError, match=r"a: bad votes 'sad:1e400'\. Votes read"):
        tables.votes(row("a", votes="sad:1e400"))
