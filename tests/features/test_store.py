import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from jser import audio
from jser.corpora import csv_rows, prepare, tables
from jser.data.split import Split
from jser.features import acoustic, frontends, shards, store, writer
from jser.features.char_ngrams import char_ngrams
from jser.features.extract import TooManyFailures, extract
from tests.helpers import tiny_corpus
from tests.helpers.paths import ROOT
from tests.helpers.seeds import seeds


@pytest.fixture
def table(tmp_path) -> tables.Table:
    source = tiny_corpus.make(tmp_path / "source")
    return prepare.prepare("csv", source, tmp_path / "data" / "small")


def make(table, front_end, tmp_path, **options) -> store.FeatureSet:
    root = tmp_path / "features"
    return extract(table, front_end, root, workers=1, **options)


def test_frames_are_those_of_the_front_end(table, tmp_path):
    for name, encode in (
        ("logmel", lambda u: acoustic.logmel(audio.load(table.audio_path(u)))),
        ("char_ngrams", lambda u: char_ngrams(u.transcript)),
    ):
        found = make(table, name, tmp_path)
        split = Split.join(table, table.utterances, {"x": found})
        rows = np.array([7, 3, 0])
        for row, frames in zip(rows, split.read(rows)["x"], strict=True):
            want = encode(split.utterances[row]).astype(np.float16)
            np.testing.assert_array_equal(frames, want)
            assert split.length["x"][row] == len(want)
        assert not list(found.folder.parent.glob("parts-*"))
        assert (found.folder / "failures.csv").read_text() == "utt_id,reason\n"


def test_done_is_not_done_again(table, tmp_path, monkeypatch):
    make(table, "logmel", tmp_path)
    monkeypatch.setattr("jser.features.extract._encode", None)
    relabelled = dataclasses.replace(
        table,
        utterances=tuple(
            dataclasses.replace(u, emotion="sad", split="train", fold=0)
            for u in reversed(table.utterances)
        ),
    )
    make(relabelled, "logmel", tmp_path)


def test_another_sound_is_refused_with_both_digests(table, tmp_path):
    found = make(table, "logmel", tmp_path)
    changed = dataclasses.replace(table.utterances[0], sha256="0123456789abcdef")
    other = dataclasses.replace(table, utterances=(changed, *table.utterances[1:]))
    with pytest.raises(
        ValueError,
        match=r"'a_angry_0' were made from another sound.*01.*"
        r"Run jser extract --table .*/small --frontend logmel; it encodes only",
    ):
        Split.join(other, other.utterances, {"speech": found})


def test_an_utterance_without_frames_is_refused(table, tmp_path):
    found = make(table, "logmel", tmp_path)
    new = dataclasses.replace(table.utterances[0], utt_id="new")
    with pytest.raises(ValueError, match=r"no frames for 1 utterances.*'new'"):
        Split.join(table, [new], {"speech": found})


def test_another_front_end_is_refused_with_both_values(table, tmp_path, monkeypatch):
    make(table, "logmel", tmp_path)
    made = frontends.FRONT_ENDS["logmel"]
    changed = dataclasses.replace(made.spec, version=2)
    monkeypatch.setitem(
        frontends.FRONT_ENDS, "logmel", dataclasses.replace(made, spec=changed)
    )
    with pytest.raises(ValueError, match="made with version=1, now it is 2"):
        make(table, "logmel", tmp_path)
    with pytest.raises(ValueError, match="made with version=1, now it is 2"):
        store.open_streams(tmp_path / "features", "small", {"speech": "logmel"})


def test_a_damaged_shard_is_refused_when_opened(table, tmp_path):
    found = make(table, "logmel", tmp_path)
    shard = sorted(found.folder.glob("*.array_record*"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{len(whole) - 1} bytes, {len(whole)} when"):
        store.FeatureSet(found.folder)
    shard.unlink()
    with pytest.raises(ValueError, match=": 0 bytes"):
        store.FeatureSet(found.folder)


@pytest.mark.parametrize(
    "value",
    [
        np.nan,
        *(pytest.param(x, marks=pytest.mark.slow) for x in (-np.nan, np.inf, -np.inf)),
    ],
)
def test_frames_that_are_not_finite_are_refused_when_read(
    table, tmp_path, monkeypatch, value
):
    examples = writer._examples

    def spoiled(path):
        for utt_id, example in examples(path):
            if utt_id == table.utterances[5].utt_id:
                example["frames"][3, 7] = value
            yield utt_id, example

    monkeypatch.setattr(writer, "_examples", spoiled)
    found = make(table, "logmel", tmp_path)
    found.read(np.array([0, 4, 6]))
    name = table.utterances[5].utt_id
    with pytest.raises(ValueError, match=rf"logmel.*of '{name}' are not all finite"):
        found.read(np.array([4, 5]))


def test_every_finite_number_is_finite():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)[:, None]
    told = [store._is_finite(x) for x in every]
    np.testing.assert_array_equal(told, np.isfinite(every[:, 0]))


def test_missing_features_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="jser extract --frontend logmel"):
        store.open_streams(tmp_path, "small", {"speech": "logmel"})


def break_sounds(folder: pathlib.Path) -> None:
    (folder / "a_angry_0.wav").write_bytes(b"no sound at all")
    soundfile.write(folder / "a_sad_1.wav", np.zeros(100), 16_000)


def test_failures_are_listed_and_left_out(tmp_path):
    source = tiny_corpus.make(tmp_path / "source")
    break_sounds(source.parent)
    table = prepare.prepare("csv", source, tmp_path / "data" / "small")
    with pytest.raises(TooManyFailures, match="2 utterances could not be"):
        make(table, "logmel", tmp_path)
    listed = tmp_path / "features" / "small" / "logmel" / "failures.csv"
    rows = csv_rows.read_csv(listed, required=("utt_id", "reason"))
    assert [r["utt_id"] for r in rows] == ["a_angry_0", "a_sad_1"]
    assert "unreadable" in rows[0]["reason"]
    assert "too short" in rows[1]["reason"]
    with pytest.raises(FileNotFoundError):
        store.open_streams(tmp_path / "features", "small", {"speech": "logmel"})

    found = make(table, "logmel", tmp_path, max_failures=2)
    assert list(found.failures) == ["a_angry_0", "a_sad_1"]
    split = Split.join(table, table.utterances, {"speech": found})
    assert len(split) == len(table.utterances) - 2
    assert csv_rows.read_csv(found.folder / "failures.csv", required=()) == rows


def test_all_failed_is_never_a_dataset(tmp_path):
    source = tiny_corpus.make(tmp_path / "source")
    for path in source.parent.glob("*.wav"):
        path.write_bytes(path.name.encode())
    table = prepare.prepare("csv", source, tmp_path / "data" / "small")
    with pytest.raises(TooManyFailures, match="not one of 60"):
        make(table, "logmel", tmp_path, max_failures=1000)


def test_a_run_cut_between_shards_goes_on(table, tmp_path, monkeypatch):
    whole = make(table, "char_ngrams", tmp_path / "whole")
    ran, run = [], shards.Shard.run

    def cut(shard, encode):
        if len(ran) == 5:
            raise KeyboardInterrupt
        ran.append(shard.path)
        return run(shard, encode)

    monkeypatch.setattr(shards.Shard, "run", cut)
    with pytest.raises(KeyboardInterrupt):
        make(table, "char_ngrams", tmp_path / "cut")
    ran.clear()
    monkeypatch.setattr(
        shards.Shard,
        "run",
        lambda shard, encode: ran.append(shard.path) or run(shard, encode),
    )
    resumed = make(table, "char_ngrams", tmp_path / "cut")
    assert len(ran) == 60 // 3 - 5
    same_records(whole, resumed)


def same_records(one: store.FeatureSet, other: store.FeatureSet) -> None:
    assert one.utt_id == other.utt_id
    assert one.digest == other.digest
    everything = np.arange(len(one.utt_id))
    for a, b in zip(one.read(everything), other.read(everything), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1, 50))
def test_a_run_killed_again_and_again_equals_one_that_was_not(table, tmp_path, seed):
    rng = random.Random(seed)
    whole = make(table, "logmel", tmp_path / "whole")
    root = tmp_path / "killed"
    command = [
        sys.executable,
        str(ROOT / "scripts" / "extract.py"),
        f"--table={table.folder}",
    ]
    command += ["--frontend=logmel", "--workers=1", f"--features_root={root}"]
    for _ in range(3):
        process = subprocess.Popen(
            command, start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(1, 7))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    same_records(whole, store.FeatureSet(root / "small" / "logmel" / "1.0.0"))
