"""Corpora laid out as their owners ship them; the sounds are tones."""

import csv
import pathlib

import soundfile

from jser.corpora import prepare, tables
from tests.helpers import tiny_corpus


def sounds(folder: pathlib.Path, names: list[str]) -> None:
    """Writes a different tone under each name."""
    for k, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tiny_corpus.tone(200 + 10 * k, 0.1), 16_000)


def write_csv(path: pathlib.Path, *rows: tuple) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(rows)
    return path


def run(corpus, source, tmp_path, **options) -> tables.Table:
    return prepare.prepare(corpus, source, tmp_path / "out", **options)


def by_id(table: tables.Table) -> dict[str, tables.Utterance]:
    return {u.utt_id: u for u in table.utterances}


MSP_HEADER = (
    *("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom"),
    *("SpkrID", "Gender", "Split_Set"),
)


def msp_podcast(home: pathlib.Path) -> pathlib.Path:
    """Writes six labelled sounds, one of test3, four workers' votes for the first."""
    names = [f"MSP-PODCAST_0001_{k:04d}.wav" for k in range(6)]
    sounds(home / "Audios", [*names, "MSP-PODCAST_test3_0001.wav"])
    write_csv(
        home / "Labels" / "labels_consensus.csv",
        MSP_HEADER,
        (names[0], "A", 5.2, 2.0, 4.5, 12, "Female", "Train"),
        (names[1], "N", 4, 4, 4, 13, "Male", "Train"),
        (names[2], "X", 4, 4, 4, 13, "Male", "Train"),
        (names[3], "O", 4, 4, 4, 13, "Male", "Train"),
        (names[4], "U", 4, 4, 4, 99, "Male", "Development"),
        (names[5], "C", 4, 4, 4, "Unknown", "Unknown", "Test1"),
    )
    write_csv(
        home / "Labels" / "labels_detailed.csv",
        ("FileName", "Worker", "EmoClass_Major"),
        (names[0], 1, "Angry"),
        (names[0], 2, "Angry"),
        (names[0], 3, "Disgust"),
        (names[0], 4, "Other-annoyed"),
    )
    (home / "Transcripts").mkdir()
    (home / "Transcripts" / "MSP-PODCAST_0001_0000.txt").write_text("I told you.\n")
    return home


IEMOCAP = {
    "Ses01F_impro01_F000": "\tneu\t[2.5000, 3.5000, 1.5000]",
    "Ses01F_impro01_M001": "\texc\t[4.0000, 4.0000, 3.0000]",
    "Ses01F_impro01_M002": "\txxx\t[4.0000, 4.0000, 3.0000]",
    "Ses02M_impro01_M000": "\tfru\t[1.0000, 4.0000, 3.0000]",
}


def iemocap(home: pathlib.Path, turns: dict[str, str]) -> pathlib.Path:
    """Writes these label lines by turn, sounds, and the first session's words."""
    for k, (name, label) in enumerate(turns.items()):
        session, dialog = home / f"Session{int(name[3:5])}", name.rsplit("_", 1)[0]
        wav = session / "sentences" / "wav" / dialog / f"{name}.wav"
        labels = session / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        words = session / "dialog" / "transcriptions" / f"{dialog}.txt"
        for path in (wav, labels, words):
            path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(wav, tiny_corpus.tone(100 + 10 * k, 0.1), 16_000)
        with labels.open("a") as f:
            f.write("% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n")
            f.write(f"[6.2901 - 8.2357]\t{name}{label}\n")
            f.write("C-E1:\tNeutral;\t()\nA-F1:\tval 2; act 3; dom  2;\t()\n\n")
        if session.name == "Session1":
            with words.open("a") as f:
                f.write(f"{name} [006.2901-008.2357]: Excuse me.\n")
    return home
