"""Transcripts in the table, and the features that are made beside them."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import soundfile

from jser import audio
from jser.corpora import csv_rows, prepare, tables
from jser.encoders.transcriber import Transcriber
from jser.features import frontends, transcribe
from jser.features.extract import TooManyFailures, extract
from tests.helpers import tiny_whisper
from tests.helpers.paths import ROOT

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder that looks like a model's, and the model."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    return folder, tiny_whisper.make(folder)


def make_table(folder, count=5, **texts):
    """A table of short sounds whose transcripts are `texts` by utt_id, else empty."""
    (folder / "sounds").mkdir(parents=True)
    with (folder / "sounds" / "all.csv").open("w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(("file", "emotion", "split", "transcript"))
        for i in range(count):
            sound = tiny_whisper.sound(i, 0.3 + 0.2 * i)
            soundfile.write(folder / "sounds" / f"u{i:02}.wav", sound, 16_000)
            out.writerow((f"u{i:02}.wav", "sad", "train", texts.get(f"u{i:02}", "")))
    return prepare.prepare("csv", folder / "sounds" / "all.csv", folder / "table")


@slow
@pytest.mark.parametrize(
    ("only", "note"), [("<|endoftext|>", "empty"), ("Q", "repetition")]
)
def test_what_is_suspicious_is_marked_and_counted(tmp_path, only, note):
    folder = tmp_path / "weights"
    tiny_whisper.make(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kept = tokenizer.convert_tokens_to_ids(only)
    never = [i for i in range(len(tokenizer)) if i != kept]
    tiny_whisper.make(folder, suppress_tokens=never, begin_suppress_tokens=[])
    table = make_table(tmp_path, 3)
    done = transcribe.transcribe(table, weights=str(folder), batch_size=2)
    rows = tables.read(table.folder).utterances
    assert [u.transcript_note for u in rows] == [note] * 3
    assert f" 3 {note}" in str(done)
    assert all(u.transcript_source == done.source for u in rows)
    assert all(bool(u.transcript) == (note != "empty") for u in rows)
    again = transcribe.transcribe(done.table, weights=str(folder), batch_size=2)
    assert again.transcripts == {}


@slow
def test_what_stopped_at_the_limit_is_marked(tmp_path):
    folder = tmp_path / "weights"
    tiny_whisper.make(folder, max_length=4)
    table = make_table(tmp_path, 2)
    done = transcribe.transcribe(table, weights=str(folder), batch_size=2)
    assert {t.note for t in done.transcripts.values()} == {"unfinished"}
    assert "2 unfinished" in str(done)


@slow
def test_the_table_gets_what_was_heard(checkpoint, tmp_path):
    table = make_table(tmp_path, 5, u01="as the corpus says")
    before = {u.utt_id: u for u in table.utterances}
    done = transcribe.transcribe(table, weights=str(checkpoint[0]), batch_size=2)
    found = tables.read(table.folder)
    assert found.fingerprint == done.table.fingerprint != table.fingerprint
    assert found.utterances == done.table.utterances
    assert sorted(done.transcripts) == ["u00", "u02", "u03", "u04"]
    for u in found.utterances:
        if u.utt_id == "u01":
            assert u == before["u01"]
            continue
        said = done.transcripts[u.utt_id]
        assert u == dataclasses.replace(
            before[u.utt_id],
            transcript=said.text,
            transcript_source=done.source,
            transcript_language=said.language,
            transcript_note=said.note,
        )
        assert said.language in ("en", "de", "ar")
    _, alone = Transcriber(str(checkpoint[0])).encode_and_transcribe(
        [tiny_whisper.sound(3, 0.9)]
    )
    assert alone[0].text == done.transcripts["u03"].text
    assert "4 utterances transcribed by tiny@" in str(done)
    assert "1 keep what they had" in str(done)
    assert sorted(p.name for p in table.folder.iterdir()) == ["table.csv", "table.json"]

    every = transcribe.transcribe(
        found, weights=str(checkpoint[0]), language="German", everything=True
    )
    assert {u.transcript_language for u in every.table.utterances} == {"de"}
    assert {u.transcript_source for u in every.table.utterances} == {every.source}
    assert every.source != done.source


@slow
def test_what_cannot_be_read_is_listed(checkpoint, tmp_path):
    table = make_table(tmp_path, 5)
    (tmp_path / "sounds" / "u01.wav").unlink()
    cut = (tmp_path / "sounds" / "u03.wav").read_bytes()[:-100]
    (tmp_path / "sounds" / "u03.wav").write_bytes(cut)
    folder = str(checkpoint[0])
    with pytest.raises(TooManyFailures, match=r"2 utterances.*--max_failures=2"):
        transcribe.transcribe(table, weights=folder, max_failures=1)
    listed = csv_rows.read_csv(
        table.folder / "transcribe_failures.csv", required=("utt_id", "reason")
    )
    reasons = {row["utt_id"]: row["reason"] for row in listed}
    assert set(reasons) == {"u01", "u03"}
    assert "missing" in reasons["u01"]
    assert "truncated" in reasons["u03"]
    assert tables.read(table.folder) == table

    done = transcribe.transcribe(table, weights=folder, max_failures=2)
    assert set(done.failures) == {"u01", "u03"}
    sources = {u.utt_id: u.transcript_source for u in done.table.utterances}
    assert [k for k, source in sources.items() if not source] == ["u01", "u03"]
    with pytest.raises(TooManyFailures, match="not one of 2"):
        transcribe.transcribe(done.table, weights=folder, max_failures=9)


@slow
def test_a_table_changed_meanwhile_is_refused(checkpoint, tmp_path):
    table = make_table(tmp_path, 2)
    other = dataclasses.replace(table.utterances[0], gender="f")
    rows = (other, *table.utterances[1:])
    tables.write(dataclasses.replace(table, utterances=rows), table.folder)
    with pytest.raises(ValueError, match="was changed while it was transcribed"):
        transcribe.transcribe(table, weights=str(checkpoint[0]), batch_size=2)
    assert tables.read(table.folder).utterances == rows


@slow
def test_killed_and_run_again_is_uncut(checkpoint, tmp_path):
    table, folder = make_table(tmp_path, 9), str(checkpoint[0])
    uncut = make_table(tmp_path / "other", 9)
    want = transcribe.transcribe(uncut, weights=folder, batch_size=1).table
    code = (
        "import pathlib, sys, time; from jser.corpora import tables;"
        "from jser.features import transcribe; transcribe._KEEP_S = 0;"
        "write = transcribe._write_chunk;"
        "transcribe._write_chunk = lambda *a: (write(*a), time.sleep(1));"
        "transcribe.transcribe(tables.read(pathlib.Path(sys.argv[1])),"
        " weights=sys.argv[2], batch_size=1)"
    )
    command = [sys.executable, "-c", code, str(table.folder), folder]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    cut = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        chunks = list(table.folder.glob("transcripts-*/*.json"))
        if len(chunks) >= 2 or cut.poll() is not None:
            break
        time.sleep(0.1)
    cut.send_signal(signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL
    assert tables.read(table.folder) == table  # Untouched so far.
    assert 2 <= len(chunks) < 5

    script = [sys.executable, str(ROOT / "scripts" / "transcribe.py")]
    options = [f"--table={table.folder}", f"--weights={folder}", "--batch_size=3"]
    printed = subprocess.run(script + options, env=env, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert "9 utterances transcribed by tiny@" in printed.stdout
    assert tables.read(table.folder).utterances == want.utterances
    assert not list(table.folder.glob("transcripts-*"))


@slow
def test_what_was_done_is_not_done_again(checkpoint, tmp_path, monkeypatch):
    table = make_table(tmp_path, 3)
    (tmp_path / "sounds" / "u01.wav").unlink()
    with pytest.raises(TooManyFailures):
        transcribe.transcribe(table, weights=str(checkpoint[0]))
    read = []
    load = transcribe.audio.load
    monkeypatch.setattr(
        transcribe.audio, "load", lambda path: (read.append(path.name), load(path))[1]
    )
    transcribe.transcribe(table, weights=str(checkpoint[0]), max_failures=1)
    assert read == ["u01.wav"]


def test_the_time_left_is_right_from_the_first_batch(tmp_path, monkeypatch):
    """Compiling does not count, nor what was heard before or cannot be read."""
    there = zip(make_table(tmp_path, 5).utterances, (61, 9, 9, 9, 9), strict=True)
    rows = [dataclasses.replace(u, seconds=s) for u, s in there]
    model = object.__new__(Transcriber)
    model.source, model.context, model.cut = "m", "full", "fixed"
    model.heard_s, model.compiling_s = 0.0, 7.0
    now = iter((1000.0, 1100.0, 1101.0, 1140.0))
    clock = types.SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr(transcribe, "time", clock)
    progress = transcribe._Progress(model, rows, rows[:-1])
    assert (progress.bar.n, progress.bar.total) == (1, 5)
    model.heard_s, model.compiling_s = 90, 67  # Three windows of 30 s in 40 s.
    progress.update()
    assert progress.bar.postfix == "00:40 left"
    progress.leave_out(rows[1])
    model.heard_s = 120
    progress.update()
    assert progress.bar.postfix == "00:10 left"
    model.heard_s = 150
    progress.update()
    assert progress.bar.postfix == "00:00 left"
    assert progress.bar.n == 5
    progress.bar.close()


def test_old_tables_are_read_and_stay_as_they_are(tmp_path):
    table = make_table(tmp_path, 2, u00="hello")
    header = (table.folder / "table.csv").read_text().splitlines()[0]
    assert "transcript_source" in header
    assert "transcript_note" not in header
    assert "transcript_language" not in header
    noted = dataclasses.replace(table.utterances[0], transcript_note="repetition")
    rows = (noted, table.utterances[1])
    tables.write(dataclasses.replace(table, utterances=rows), table.folder)
    found = tables.read(table.folder)
    assert found.utterances == rows
    assert found.fingerprint != table.fingerprint
    texts = tmp_path / "new.csv"
    texts.write_text("utt_id,transcript\nu00,bye\nu01,\n")
    replaced = prepare.add_transcripts(found.utterances, texts)
    assert [u.transcript_note for u in replaced] == ["", ""]


@slow
def test_one_pass_makes_transcripts_and_features(checkpoint, tmp_path, monkeypatch):
    """Both are those of the scripts alone, and no pass was made twice."""
    alone = make_table(tmp_path / "alone")
    weights_ = str(checkpoint[0])
    front_end = frontends.open("whisper", weights=weights_)
    want = extract(alone, front_end, tmp_path / "alone" / "features")
    said = transcribe.transcribe(alone, weights=weights_, batch_size=2)
    table, root = make_table(tmp_path / "both"), tmp_path / "both" / "features"

    def refuse(*_):
        raise AssertionError("the encoder was loaded a second time")

    monkeypatch.setattr(frontends, "_load", refuse)
    # The states are of 30 s, even of a name whose own context is short.
    short = dataclasses.replace(frontends.PRETRAINED["whisper"], context="short")
    monkeypatch.setitem(frontends.PRETRAINED, "whisper", short)
    both = transcribe.transcribe(
        table, weights=weights_, batch_size=2, also=("whisper", root)
    )
    assert both.transcripts == said.transcripts
    got = extract(table, front_end, root)
    records = np.arange(len(table.utterances))
    assert got.utt_id == want.utt_id
    for ours, theirs in zip(got.read(records), want.read(records), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # Of float16, near 1.
    with pytest.raises(ValueError, match="'logmel' is not one of whisper_large_v3"):
        transcribe.transcribe(table, weights=weights_, also=("logmel", root))
    with pytest.raises(ValueError, match="context='short' makes transcripts alone"):
        transcribe.transcribe(
            table, weights=weights_, context="short", also=("whisper", root)
        )


@slow
def test_what_is_longer_than_a_window_is_encoded_by_itself(checkpoint, tmp_path):
    """Windows of the front end overlap, those of transcripts do not."""
    table = make_table(tmp_path)
    path = tmp_path / "sounds" / "u00.wav"
    soundfile.write(path, tiny_whisper.sound(0, 31), 16_000)
    table = prepare.prepare("csv", tmp_path / "sounds" / "all.csv", table.folder)
    weights_ = str(checkpoint[0])
    transcribe.transcribe(
        table, weights=weights_, batch_size=2, also=("whisper", tmp_path / "features")
    )
    front_end = frontends.open("whisper", weights=weights_)
    got = extract(table, front_end, tmp_path / "features")
    (frames,) = got.read(np.array([got.record["u00"]]))
    np.testing.assert_allclose(
        frames, front_end.load()([audio.load(path)])[0], atol=2e-3
    )
