import csv
import dataclasses
import pathlib
import re

import numpy as np
import pytest

from jser import emotions
from jser.config import Tasks
from jser.corpora import prepare, tables
from jser.corpora.utterances import ATTRIBUTES
from jser.ensemble.logits import Logits
from jser.report import submission
from jser.training import predict, train
from tests.commands.test_scripts import run
from tests.helpers import rated_corpus, tiny_corpus

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


def logits_of(attributes: np.ndarray) -> Logits:
    nothing = np.full(24, -1)
    return Logits(
        utt_id=np.array(NAMES),
        logits=np.zeros((24, 8), np.float32),
        **{"label": nothing, "fold": nothing, "speaker": np.full(24, "")},
        in_sample=np.zeros(24, bool),
        speaker_seen=np.zeros(24, bool),
        labels=np.array(EMOTIONS),
        made_by=np.array(["x@1"]),
        attributes=attributes.astype(np.float32),
    )


def test_attributes_have_the_challenges_columns(tmp_path):
    """Arousal is activation; each in its own column."""
    rated = np.stack([np.full(24, 2.5), np.linspace(1, 7, 24), np.full(24, 6)], axis=1)
    logits_of(rated).save(tmp_path / "test3.npz")
    sample, out = tmp_path / "sample.csv", tmp_path / "mine.csv"
    rows = "".join(f"{name}.wav,4,4,4\n" for name in NAMES)
    sample.write_text("FileName,EmoAct,EmoVal,EmoDom\n" + rows)
    read = submission.read_attributes(tmp_path / "test3.npz")
    assert submission.write_attributes(read, out, sample=sample) == 24
    header, first, *_, last = out.read_text().splitlines()
    assert header == "FileName,EmoAct,EmoVal,EmoDom"
    assert first == "MSP-PODCAST_test3_0001.wav,2.5000,1.0000,6.0000"
    assert last == "MSP-PODCAST_test3_0024.wav,2.5000,7.0000,6.0000"
    edited(sample, lambda r: r[:-1])
    with pytest.raises(ValueError, match=r"not in the sample: 'MSP-.*_0024\.wav'"):
        submission.write_attributes(read, out, sample=sample)


def test_what_has_no_attributes_is_refused(sample, tmp_path):
    logits_of(np.zeros((24, 0))).save(tmp_path / "test3.npz")
    mend = r"test3\.npz: its members predict no arousal.*--config\.tasks\.attributes="
    with pytest.raises(ValueError, match=mend):
        submission.read_attributes(tmp_path / "test3.npz")
    (tmp_path / "test3.csv").write_text("utt_id,predicted\na,sad\n")
    with pytest.raises(ValueError, match=r"no logits \(\.npz\), which alone hold"):
        submission.read_attributes(tmp_path / "test3.csv")
    rated = {name: [4.0, 4.0, 4.0] for name in NAMES}
    with pytest.raises(ValueError, match="no column EmoAct, EmoVal, EmoDom"):
        submission.write_attributes(rated, tmp_path / "out.csv", sample=sample)


def test_from_training_to_a_submission_of_what_nobody_has_labelled(corpus, tmp_path):
    table = tables.read(corpus.data / "small")
    source = rated_corpus.rated(table, tmp_path)
    with source.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    for row in (r for r in rows if r["split"] == "test"):
        held_back = dict.fromkeys(("emotion", "ratings", *ATTRIBUTES), "")
        row |= {"split": "test3"} | held_back
    with source.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    roots = dataclasses.replace(corpus, data=tmp_path / "data", runs=tmp_path / "runs")
    prepare.prepare("csv", source, roots.data / "small", audio_root=pathlib.Path("/"))
    c = tiny_corpus.experiment()
    c.tasks = Tasks(attributes=0.4)
    train.train(c.check(), roots)
    said = predict.predict(roots, roots.workdir(c), "test3")
    assert (said.label == -1).all()
    logits = roots.workdir(c) / "logits" / "test3.npz"
    sample = tmp_path / "sample.csv"
    names = [f"{u}.wav" for u in said.utt_id.tolist()]
    told = "".join(f"{name},4,4,4\n" for name in names)
    sample.write_text("FileName,EmoAct,EmoVal,EmoDom\n" + told)
    arguments = (f"--predictions={logits}", "--out=mine.csv", f"--sample={sample}")
    found = run("submission", *arguments, "--task=attributes", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "mine.csv: 12 rows, as in the sample" in found.stdout
    with (tmp_path / "mine.csv").open(newline="") as f:
        written = list(csv.DictReader(f))
    assert [r["FileName"] for r in written] == names
    columns = ("EmoAct", "EmoVal", "EmoDom")
    got = [[float(r[name]) for name in columns] for r in written]
    np.testing.assert_allclose(got, said.attributes, atol=5.1e-5)


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
