import csv
import pathlib
import re

import numpy as np
import pytest

from jser import emotions
from jser.ensemble.logits import Logits
from jser.report import submission
from tests.commands.test_scripts import run

NAMES = [f"MSP-PODCAST_test3_{k:04d}" for k in range(1, 25)]
EMOTIONS = list(emotions.MSP_PODCAST.values())


@pytest.fixture
def predicted() -> dict[str, str]:
    shuffled = [NAMES[(7 * k) % 24] for k in range(24)]
    return {name: EMOTIONS[int(name[-4:]) % 8] for name in shuffled}


@pytest.fixture
def sample(tmp_path) -> pathlib.Path:
    path = tmp_path / "Categorical_test.csv"
    rows = "".join(f"{name}.wav,N\r\n" for name in NAMES)
    path.write_text("FileName,EmoClass\r\n" + rows)
    return path


def edited(path: pathlib.Path, edit) -> pathlib.Path:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *edit(rows)]) + "\n")
    return path


def test_rows_are_the_challenges(predicted, sample, tmp_path):
    out = tmp_path / "submission.csv"
    assert submission.write(predicted, out, sample=sample) == 24
    assert b"\r" not in out.read_bytes()
    with out.open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["FileName", "EmoClass"]
    assert [r["FileName"] for r in rows] == [f"{n}.wav" for n in NAMES]
    for row in rows:
        name = row["FileName"].removesuffix(".wav")
        assert emotions.MSP_PODCAST[row["EmoClass"]] == predicted[name]
    assert {r["EmoClass"] for r in rows} == set("ASHUFDCN")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda r: r[:-1], "24 files, and the sample has 23 rows; not in the sample: "),
        (lambda r: [*r, "new.wav,N"], "no prediction for 'new.wav'"),
        (lambda r: ["new.wav,N", *r[1:]], "0001.wav'. Predict the split"),
        (lambda r: [r[1], r[0], *r[2:]], "line 2 is 'MSP-PODCAST_test3_0002.wav'"),
        (lambda r: [*r, r[3]], "the sample has these twice: '.*0004.wav'"),
        (lambda r: [f"x{x}" for x in r], "0003.wav' and 21 more"),
    ],
)
def test_a_file_that_is_not_the_samples_is_refused(
    predicted, sample, tmp_path, edit, message
):
    out = tmp_path / "submission.csv"
    with pytest.raises(ValueError, match=message):
        submission.write(predicted, out, sample=edited(sample, edit))
    assert not out.exists()


def test_a_sample_without_its_columns_is_refused(predicted, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("name\nx\n")
    with pytest.raises(ValueError, match="no column FileName, EmoClass"):
        submission.write(predicted, tmp_path / "out.csv", sample=path)


def test_an_emotion_without_a_letter_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no letter for bored; .* angry, sad"):
        submission.write({"a": "bored"}, tmp_path / "out.csv")


def test_logits_and_predictions_say_the_same(predicted, tmp_path):
    names = sorted(predicted)
    logits = np.zeros((24, 8), np.float32)
    for row, name in enumerate(names):
        logits[row, EMOTIONS.index(predicted[name])] = 1.0
    nothing = np.full(24, -1)
    Logits(
        utt_id=np.array(names),
        logits=logits,
        label=nothing,
        fold=nothing,
        speaker=np.full(24, ""),
        in_sample=np.zeros(24, bool),
        speaker_seen=np.zeros(24, bool),
        labels=np.array(EMOTIONS),
        made_by=np.array(["x@1"]),
    ).save(tmp_path / "test3.npz")
    table = "utt_id,label,predicted,p_angry\n"
    table += "".join(f"{n},,{e},0.5\n" for n, e in predicted.items())
    (tmp_path / "test3.csv").write_text(table)
    for name in ("test3.npz", "test3.csv"):
        assert submission.read(tmp_path / name) == predicted

    (tmp_path / "test3.csv").write_text(table + f"{names[0]},,sad,0.1\n")
    with pytest.raises(ValueError, match=f"twice there: '{names[0]}'"):
        submission.read(tmp_path / "test3.csv")
    with pytest.raises(ValueError, match=re.escape("neither logits (.npz)")):
        submission.read(tmp_path / "test3.txt")


def test_names_with_commas_and_quotes_are_those_of_the_sample(tmp_path):
    names = ["=1+1", "a, b", 'say "hi"', "ä"]
    predicted = dict.fromkeys(names, "sad")
    sample, out = tmp_path / "sample.csv", tmp_path / "mine.csv"
    with sample.open("w", newline="") as f:
        rows = [[f"{n}.wav", "N"] for n in names]
        csv.writer(f).writerows([submission.COLUMNS, *rows])
    assert submission.write(predicted, out, sample=sample) == 4
    assert out.read_text().splitlines()[1:3] == ["=1+1.wav,S", '"a, b.wav",S']
    assert [r["FileName"] for r in csv.DictReader(out.open())] == [r[0] for r in rows]


def test_the_script(predicted, sample, tmp_path):
    table = "utt_id,predicted\n" + "".join(f"{n},{e}\n" for n, e in predicted.items())
    (tmp_path / "test3.csv").write_text(table)
    arguments = ("--predictions=test3.csv", "--out=mine.csv", f"--sample={sample}")
    found = run("submission", *arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "mine.csv: 24 rows, as in the sample" in found.stdout
    edited(sample, lambda r: r[:-2])
    found = run("submission", *arguments, cwd=tmp_path)
    assert found.returncode == 1
    assert "error: " in found.stderr
    assert "the sample has 22 rows" in found.stderr
