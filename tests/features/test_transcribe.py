"""Transcripts: the decoder against transformers', and the table they go to."""

import csv
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jser import audio
from jser.corpora import prepare, tables
from jser.encoders import transcriber, weights, whisper, whisper_decoder
from jser.encoders.transcriber import Transcriber
from jser.encoders.whisper_prompts import Rules
from jser.features import frontends, transcribe
from jser.features.extract import TooManyFailures, extract
from tests.helpers import tiny_whisper

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).parents[2]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder that looks like a model's, and the model."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    return folder, tiny_whisper.make(folder)


@pytest.fixture(scope="module")
def heard(checkpoint):
    """Eight sounds, two of them over 30 s, and what a batch of four makes of them."""
    lengths_s = (0.5, 2, 31, 4, 1, 65.0001, 0.025, 3)
    sounds = [tiny_whisper.sound(i, s) for i, s in enumerate(lengths_s)]
    four = Transcriber(str(checkpoint[0]), batch_size=4)
    return sounds, *four.encode_and_transcribe(sounds)


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


def generate(model, mel, **options):
    with torch.no_grad():
        said = model.generate(torch.tensor(np.moveaxis(mel, 1, 2)), **options)
    return said.numpy()


def our_tokens(folder, mel, language=None):
    """Tokens after the prompt and before the end, a list a window."""
    encoder, encoder_params = whisper.load(folder)
    decoder, params = whisper_decoder.load(folder)
    rules = Rules.read(folder)

    def encode(mel):
        states = encoder.apply(encoder_params, mel)[-1]
        return decoder.apply(params, states, method="cross")

    cross = jax.jit(encode)(mel)
    if language:
        found = [rules.languages[language]] * len(mel)
    elif rules.languages:
        found = whisper_decoder.detect(decoder, rules, params, cross)
    else:
        found = [0] * len(mel)
    prompt = rules.prompts([int(i) for i in found])
    greedy = jax.jit(
        lambda *args: whisper_decoder.greedy(decoder, rules, params, *args)
    )
    said = greedy(cross, prompt, np.ones(len(mel), bool))[:, prompt.shape[1] :]
    return [until(row, rules.end) for row in np.asarray(said)], found


def until(row, end):
    return row[: np.append(np.flatnonzero(row == end), len(row))[0]].tolist()


def short_windows(seed, batch=6):
    """Spectrograms of 2.4 s at most, silent after their end."""
    rng = np.random.default_rng(seed)
    mel = rng.standard_normal((batch, 240, 80)).astype(np.float32)
    for k, row in enumerate(mel):
        row[40 + 30 * k :] = -0.5
    return mel


@slow
@pytest.mark.parametrize("seed", [3, 0, 1])
@pytest.mark.parametrize("language", [None, "de"])
def test_greedy_tokens_are_generates(tmp_path, seed, language):
    model = tiny_whisper.make(tmp_path, seed=seed, positions=120)
    end = model.generation_config.eos_token_id
    mel = short_windows(seed)
    options = {"language": language} if language else {}
    want = [until(row, end) for row in generate(model, mel, **options)]
    got, languages = our_tokens(tmp_path, mel, language)
    assert got == want
    assert len({tuple(row) for row in want}) > 1
    if language is None:
        features = torch.tensor(np.moveaxis(mel, 1, 2))
        found = model.detect_language(features, num_segment_frames=240)
        assert list(languages) == found.tolist()


@slow
@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"english": True}, {}),
        ({"forced_decoder_ids": None}, {"task": "transcribe"}),
        ({"suppress_tokens": None, "begin_suppress_tokens": None}, {}),
        ({"max_length": 9}, {}),
        ({"max_length": None, "max_new_tokens": 12}, {}),
        ({"language": "german", "forced_decoder_ids": None}, {"task": "transcribe"}),
    ],
)
def test_greedy_tokens_are_generates_by_other_rules(tmp_path, changes, options):
    model = tiny_whisper.make(tmp_path, positions=120, **changes)
    mel = short_windows(1)
    end = model.generation_config.eos_token_id
    want = [until(row, end) for row in generate(model, mel, **options)]
    rules = Rules.read(tmp_path)
    got, _ = our_tokens(tmp_path, mel, rules.language)
    assert got == want


@slow
def test_logits_equal_pytorch_and_the_cache_changes_nothing(tmp_path):
    # With a gain of 4 float32 alone, PyTorch's too, errs by several times 1e-5.
    model = tiny_whisper.make(tmp_path, positions=120, gain=1.0)
    decoder, params = whisper_decoder.load(tmp_path)
    features = torch.tensor(np.moveaxis(short_windows(5, 3), 1, 2))
    tokens = np.random.default_rng(0).integers(0, 95, (3, 17))
    with torch.no_grad():
        states = model.get_encoder()(features).last_hidden_state
        want = model(
            encoder_outputs=(states,), decoder_input_ids=torch.tensor(tokens)
        ).logits.numpy()
    cross = decoder.apply(params, states.numpy(), method="cross")
    step = jax.jit(decoder.apply)
    whole, _ = step(params, tokens, 0, cross, decoder.empty_cache(3, 17))
    assert whole.dtype == jnp.float32
    np.testing.assert_allclose(whole, want, atol=1e-5, rtol=0)
    cache = decoder.empty_cache(3, 20)
    first, cache = step(params, tokens[:, :4], 0, cache=cache, cross=cross)
    steps = [first]
    for i in range(4, 17):
        one, cache = step(params, tokens[:, i : i + 1], i, cache=cache, cross=cross)
        steps.append(one)
    by_steps = np.concatenate(steps, axis=1)
    np.testing.assert_allclose(by_steps, whole, atol=1e-5, rtol=0)


@slow
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_changes_no_transcript(checkpoint, heard, batch_size):
    sounds, _, four = heard
    other = Transcriber(str(checkpoint[0]), batch_size=batch_size)
    cut = [transcriber.windows(x, other.bands) for x in sounds]
    assert list(other.transcribe(cut)) == four
    assert len({t.text for t in four}) == len(four)
    assert len({t.language for t in four}) > 1


@slow
def test_the_text_is_that_of_transformers(checkpoint, heard):
    folder, model = checkpoint
    sounds, _, transcripts = heard
    short = [i for i, x in enumerate(sounds) if len(x) <= 480_000]
    mel = np.stack([whisper.log_mel(sounds[i], 80) for i in short])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    want = tokenizer.batch_decode(generate(model, mel), skip_special_tokens=True)
    assert [transcripts[i].text for i in short] == [text.strip() for text in want]


@slow
def test_over_30_seconds_by_windows(checkpoint, heard):
    sounds, _, transcripts = heard
    long = sounds[5]  # 65 s, its first window says the language of all.
    given = Transcriber(
        str(checkpoint[0]), language=transcripts[5].language, batch_size=1
    )
    cuts = (long[:480_000], long[480_000:960_000], long[960_000:])
    _, parts = given.encode_and_transcribe(cuts)
    assert transcripts[5].text == " ".join(t.text for t in parts if t.text)
    assert len(parts) == 3
    assert {t.language for t in parts} == {transcripts[5].language}


@slow
def test_frames_are_the_encoders(checkpoint, heard):
    module, params = whisper.load(checkpoint[0])
    apply = jax.jit(module.apply)
    for sound, frames in zip(*heard[:2], strict=True):
        assert frames.dtype == np.float32
        assert len(frames) == -(-len(sound) // 320)
        for start in range(0, len(sound), 480_000):
            part = sound[start : start + 480_000]
            mel = whisper.log_mel(part, 80)[None]
            want = apply(params, mel)[-1, 0, : whisper.frames(len(part))]
            got = frames[start // 320 :][: len(want)]
            np.testing.assert_allclose(got, want, atol=2e-5, rtol=0)


@slow
def test_bfloat16_is_another_source(checkpoint, heard):
    half = Transcriber(str(checkpoint[0]), dtype="bfloat16", batch_size=2)
    frames, transcripts = half.encode_and_transcribe(heard[0][:2])
    assert frames[0].dtype == np.float32
    error = np.concatenate(frames) - np.concatenate(heard[1][:2])
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert len(transcripts) == 2
    whole = Transcriber(str(checkpoint[0]), language="de")
    plain = Transcriber(str(checkpoint[0]))
    assert len({t.source for t in (half, whole, plain)}) == 3
    assert all(t.source.startswith("tiny@") for t in (half, whole, plain))


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", False),
        ("No, no, no!", False),
        ("I was there, and then I was not, and nobody said why it had to be.", False),
        ("Thank you. " * 12, True),
        ("私は" * 60, True),
        ("a" * 100, True),
    ],
)
def test_repetition(text, repeats):
    assert transcriber.is_repetition(text) is repeats


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
    listed = tables.read_csv(
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
        "from jser.features import transcribe; transcribe._UTTERANCES_PER_PIECE = 2;"
        "write = transcribe._write_piece;"
        "transcribe._write_piece = lambda *a: (write(*a), time.sleep(1));"
        "transcribe.transcribe(tables.read(pathlib.Path(sys.argv[1])),"
        " weights=sys.argv[2], batch_size=1)"
    )
    command = [sys.executable, "-c", code, str(table.folder), folder]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    cut = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        pieces = list(table.folder.glob("transcripts-*/*.json"))
        if len(pieces) >= 2 or cut.poll() is not None:
            break
        time.sleep(0.1)
    cut.send_signal(signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL
    assert tables.read(table.folder) == table  # Untouched so far.
    assert 2 <= len(pieces) < 5

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


@slow
def test_bad_input_is_refused(checkpoint, tmp_path):
    folder, _ = checkpoint
    with pytest.raises(ValueError, match="'klingon' is not one of ar, de, en"):
        Transcriber(str(folder), language="klingon")
    for language in ("en", "<|en|>", "English"):
        assert Rules.read(folder).code(language) == "en"
    with pytest.raises(ValueError, match="'float16' is not one of float32, bfloat16"):
        Transcriber(str(folder), dtype="float16")
    with pytest.raises(ValueError, match="batch_size: 0"):
        Transcriber(str(folder), batch_size=0)
    with pytest.raises(FileNotFoundError, match=r"config\.json.*hf download"):
        Transcriber(str(tmp_path))
    english = tmp_path / "english"
    tiny_whisper.make(english, english=True)
    with pytest.raises(ValueError, match="has no choice of languages"):
        Transcriber(str(english), language="en")
    config = english / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"whisper"', '"hubert"'))
    with pytest.raises(ValueError, match="model_type is 'hubert', not one of whisper"):
        Transcriber(str(english))
    config.write_text(text.replace('"decoder_layers": 2', '"decoder_layers": 3'))
    with pytest.raises(ValueError, match=r"lack layers\.2\."):
        Transcriber(str(english))
    config.write_text(text)
    (english / "generation_config.json").write_text("{}")
    with pytest.raises(ValueError, match="no single start and end token"):
        Transcriber(str(english))
    (english / "generation_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"generation_config\.json"):
        Transcriber(str(english))
    assert weights.digest(english)


def test_a_checkpoint_that_is_nowhere(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        Transcriber(str(tmp_path / "none"))


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
