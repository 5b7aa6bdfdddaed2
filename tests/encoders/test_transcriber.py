"""The decoder against transformers', and in batches against itself."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import transcriber, weights, whisper, whisper_decoder
from jser.encoders.transcriber import Transcriber
from jser.encoders.whisper_prompts import Rules
from tests.helpers import tiny_whisper

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

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
    made = greedy(cross, prompt, np.ones(len(mel), bool))
    said = np.asarray(made.tokens)[:, prompt.shape[1] :]
    return [until(row, rules.end) for row in said], found


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
def test_a_short_context_is_the_encoders(checkpoint, heard):
    """Frames are those of a spectrogram's beginning; batches change no transcript."""
    sounds = [heard[0][i] for i in (0, 2, 1, 4)]  # 0.5, 31, 2 and 1 s.
    options = {"language": "de", "context": "short"}
    short = Transcriber(str(checkpoint[0]), batch_size=3, **options)
    frames, transcripts = short.encode_and_transcribe(sounds)
    alone = Transcriber(str(checkpoint[0]), batch_size=1, **options)
    cut = [transcriber.windows(x, short.bands, "short") for x in sounds]
    lengths = [[len(w.mel) for w in of] for of in cut]
    assert lengths == [[1000], [3000, 3000], [1000], [1000]]
    assert list(alone.transcribe(cut)) == transcripts
    assert alone.heard_s == short.heard_s == 90
    module, params = whisper.load(checkpoint[0], "last")
    for i in (0, 2, 3):
        mel = whisper.log_mel(sounds[i], 80)[None, :1000]
        want: Any = module.clone(short=True).apply(params, mel)
        want = want[0, : len(frames[i])]
        np.testing.assert_allclose(frames[i], want, atol=2e-5, rtol=0)
    whole = Transcriber(str(checkpoint[0]), batch_size=1, language="de")
    assert whole.source != short.source == alone.source
    _, (text,) = whole.encode_and_transcribe(sounds[1:2])
    assert text == transcripts[1]  # Over 30 s nothing is short.
    with pytest.raises(ValueError, match="context: 'long' is not one of full, short"):
        Transcriber(str(checkpoint[0]), context="long")


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [(0, [10]), (8, [10]), (8.01, [20]), (18.01, [30]), (30, [30]), (61, [30] * 3)],
)
def test_lengths_of_a_short_context(seconds, lengths):
    """There are always 2 s of silence, but for what nearly fills a window."""
    samples = round(seconds * 16_000)
    got = transcriber.spectrogram_frames(samples, "short")
    assert got == [100 * s for s in lengths]
    assert transcriber.spectrogram_frames(samples) == [3000] * len(lengths)


@slow
def test_how_sure_the_decoder_is(tmp_path):
    """By all logits of a row, read at once."""
    tiny_whisper.make(tmp_path, positions=120)
    encoder, encoder_params = whisper.load(tmp_path, "last")
    decoder, params = whisper_decoder.load(tmp_path)
    rules = Rules.read(tmp_path)
    states = encoder.apply(encoder_params, short_windows(1))
    cross: Any = decoder.apply(params, states, method="cross")
    prompt = rules.prompts([rules.languages["de"]] * 6)
    real = np.arange(6) < 5
    made = whisper_decoder.greedy(decoder, rules, params, cross, prompt, real)
    empty = decoder.empty_cache(6, rules.limit)
    logits, _ = decoder.apply(params, made.tokens, 0, cross, empty)
    first = jax.nn.softmax(logits[:, 0])[:, rules.no_speech]
    np.testing.assert_allclose(made.no_speech, first, atol=1e-5)
    lengths = set()
    for row in range(5):
        ids, given = np.asarray(made.tokens[row]), prompt.shape[1]
        scores = []
        for i in range(given, len(ids)):
            never = set(rules.suppress)
            never |= set(rules.suppress_first if i == given else ())
            allowed = np.array(logits[row, i - 1])
            allowed[list(never)] = -np.inf
            scores.append(jax.nn.log_softmax(allowed)[ids[i]])
            if ids[i] == rules.end:
                break
        lengths.add(len(scores))
        assert made.log_probability[row] == pytest.approx(np.mean(scores), abs=1e-4)
    assert len(lengths) > 1


@pytest.mark.parametrize("seconds", [0.025, 29.9, 30, 30.5, 52.1, 61.3, 200])
def test_long_sounds_are_cut_where_it_is_quiet(seconds):
    n = round(seconds * 16_000)
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    for pause in range(10_000, n, 3 * 16_000):
        x[pause : pause + 8_000] *= 0.01
    edges = transcriber.edges(x, "pauses")
    assert (edges[0], edges[-1]) == (0, n)
    for edge in edges[1:-1]:
        assert edge % 320 == 0
        assert np.abs(x[edge - 800 : edge + 800]).max() < 0.1
    lengths = np.diff(edges)
    assert lengths.max() <= whisper.WINDOW_SAMPLES
    assert len(lengths) == 1 if seconds <= 30 else lengths.min() > 9 * 16_000
    cut = transcriber.windows(x, 80, cut="pauses")
    assert [len(w.mel) for w in cut] == transcriber.spectrogram_frames(n, cut="pauses")
    assert sum(w.frames for w in cut) == whisper.frames(n)
    fixed = [*range(0, n, whisper.WINDOW_SAMPLES), n]
    assert transcriber.edges(x) == fixed


@slow
def test_words_of_nobody_are_held_back(checkpoint, heard, monkeypatch):
    sounds = heard[0]
    model = Transcriber(str(checkpoint[0]), batch_size=2, language="de")
    cut = [transcriber.windows(sounds[i], model.bands) for i in (0, 1)]
    heard_of = list(model.transcribe(cut))
    assert all(t.text for t in heard_of)
    for least, most in ((-1.0, -100.0), (1.0, 0.0)):  # Only one of the two holds.
        monkeypatch.setattr(transcriber, "_LEAST_NO_SPEECH", least)
        monkeypatch.setattr(transcriber, "_MOST_UNSURE", most)
        assert list(model.transcribe(cut)) == heard_of
    monkeypatch.setattr(transcriber, "_LEAST_NO_SPEECH", -1.0)
    nobody = transcriber.Transcript("", "de", "no_speech")
    assert list(model.transcribe(cut)) == [nobody, nobody]
    monkeypatch.setattr(transcriber, "_MOST_UNSURE", -100.0)
    assert list(model.transcribe(cut)) == heard_of
    monkeypatch.setattr(transcriber, "_SURE_NO_SPEECH", -1.0)
    assert list(model.transcribe(cut)) == [nobody, nobody]


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
