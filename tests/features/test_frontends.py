import dataclasses
import functools
import json
import unicodedata
import zlib

import numpy as np
import pytest

from jser import front_end_table, recipes
from jser.corpora import voice
from jser.encoders import weights
from jser.feature_names import FeatureName
from jser.features import acoustic, frontends, store
from jser.features.char_ngrams import NGRAM_BUCKETS, char_ngrams
from tests.helpers import tiny_corpus
from tests.helpers.paths import CONFIGS

MANNER = voice.Manner(
    f0_hz=160,
    f0_range_st=2,
    final_st=0,
    rate=1,
    level_db=-25,
    tilt_hz=1500,
    breath=0.03,
    jitter=0.004,
    formant_scale=1,
)


@pytest.mark.parametrize("samples", [400, 401, 639, 640, 16_000])
@pytest.mark.parametrize("name", ["logmel", "mfcc", "prosody"])
def test_speech_frames(name, samples, rng):
    front_end = frontends.get(name)
    sound = 0.1 * rng.standard_normal(samples).astype(np.float32)
    (frames,) = front_end.load()([sound])
    assert frames.shape == (1 + samples // 320, front_end.spec.width)
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()


def test_functionals_are_one_row(rng):
    front_end = frontends.get("functionals")
    sound = voice.speak("we went home", MANNER, rng)
    (row,) = front_end.load()([sound])
    assert row.shape == (1, front_end.spec.width)
    frames = np.hstack([acoustic.mfcc(sound), acoustic.prosody(sound)])
    width = frames.shape[1]
    np.testing.assert_allclose(row[0, :width], frames.mean(0), atol=1e-5)
    median = row[0, 4 * width : 5 * width]
    np.testing.assert_allclose(median, np.median(frames, axis=0), atol=1e-5)
    slope = row[0, 9 * width :]
    want = np.polyfit(np.linspace(-1, 1, len(frames)), frames, 1)[0]
    np.testing.assert_allclose(slope, want, atol=1e-4)


SPEECH = ["functionals", "logmel", "mfcc", "prosody"]


@pytest.mark.parametrize("name", SPEECH)
def test_silence_is_finite(name):
    (frames,) = frontends.get(name).load()([np.zeros(8000, np.float32)])
    assert np.isfinite(frames).all()


@pytest.mark.parametrize("name", SPEECH)
def test_level_changes_nothing(name, rng):
    encode = getattr(acoustic, name)
    sound = voice.speak("we went home", MANNER, rng)
    np.testing.assert_allclose(encode(sound), encode(0.5 * sound), atol=0.02)


def test_logmel_is_normalised_over_the_utterance(rng):
    frames = acoustic.logmel(voice.speak("we went home", MANNER, rng))
    assert frames.mean() == pytest.approx(0, abs=1e-3)
    assert frames.std() == pytest.approx(1, abs=1e-2)


def test_logmel_keeps_spectral_tilt(rng):
    dull, bright = (
        acoustic.logmel(
            voice.speak("we went home", MANNER.__class__(**(vars(MANNER) | t)), rng)
        )
        for t in ({"tilt_hz": 500}, {"tilt_hz": 4000})
    )
    slope = lambda frames: frames[:, 40:].mean() - frames[:, :40].mean()
    assert slope(bright) > slope(dull)


@pytest.mark.parametrize("f0_hz", [90, 160, 280])
def test_prosody_finds_the_pitch_that_was_spoken(f0_hz, rng):
    manner = MANNER.__class__(**(vars(MANNER) | {"f0_hz": f0_hz, "f0_range_st": 0}))
    octave, _, voiced, *_ = acoustic.prosody(
        voice.speak("mamama lolomo nana", manner, rng)
    ).T
    found = 100 * 2 ** octave[voiced > 0.5]
    assert (voiced > 0.5).mean() > 0.6
    assert np.median(found) == pytest.approx(f0_hz, rel=0.03)


def test_prosody_tells_voice_from_noise(rng):
    tone = tiny_corpus.tone(200, 1.0)
    noise = 0.1 * rng.standard_normal(16_000).astype(np.float32)
    harmonicity = 8
    assert acoustic.prosody(tone)[:, harmonicity].mean() > 1
    assert acoustic.prosody(noise)[:, harmonicity].mean() < 0.2


@pytest.mark.parametrize(
    ("transcript", "words"),
    [("", 0), ("Das will ich", 3), ("no, no!", 4), ("مرحبا يا عالم", 3), ("😀", 1)],
)
def test_one_frame_per_word_and_one_for_the_start(transcript, words):
    frames = char_ngrams(transcript)
    assert frames.shape == (1 + words, NGRAM_BUCKETS)
    np.testing.assert_allclose(np.linalg.norm(frames, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("transcript", "words"),
    [
        ("नमस्ते दुनिया हिन्दी", 3),
        ("தமிழ் மொழி", 2),
        ("مُحَمَّد", 1),
        ("हिन्\u200cदी", 1),
        ("wie scho\u0308n!", 3),
        ("❤\ufe0f ok", 2),
        ("\u0301", 1),
    ],
)
def test_marks_stay_with_their_letters(transcript, words):
    assert len(char_ngrams(transcript)) == 1 + words


@pytest.mark.parametrize("text", ["schön", "İstanbul", "한국어", "Ὀδυσσεύς", "हिन्दी"])
def test_composed_and_decomposed_letters_are_the_same(text):
    composed, decomposed = (unicodedata.normalize(f, text) for f in ("NFC", "NFD"))
    np.testing.assert_array_equal(char_ngrams(composed), char_ngrams(decomposed))


def test_plain_words_have_the_numbers_of_version_1():
    (frame,) = char_ngrams("no")[1:]
    buckets = [
        zlib.crc32(p) % NGRAM_BUCKETS for p in (b"<no", b"no>", b"<no>", b"<no>")
    ]
    np.testing.assert_allclose(
        frame, np.bincount(buckets, minlength=NGRAM_BUCKETS) / np.sqrt(6), rtol=1e-6
    )
    assert frontends.identity("char_ngrams")["version"] == 2


def test_a_long_transcript_is_not_cut():
    assert len(char_ngrams("word " * 3000)) == 3001


def test_words_alike_have_frames_alike():
    walk, walked, stone = char_ngrams("walking walked stone")[1:]
    assert walk @ walked > walk @ stone
    np.testing.assert_array_equal(char_ngrams("WALK"), char_ngrams("walk"))


def test_unknown_front_end_lists_the_known():
    with pytest.raises(
        ValueError, match="char_ngrams, functionals, logmel, mfcc, prosody"
    ):
        frontends.get("plp")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("logmel@3", "needs no weights and has neither layers nor tags"),
        ("logmel-mine", "needs no weights and has neither layers nor tags"),
        ("char_ngrams.trimmed", "there is no silence in text"),
        ("logmel.pooled.trimmed", "does not read as name-tag@layer.trimmed.pooled"),
        ("../logmel", "does not read as"),
        ("logmel.every0", "does not read as"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        frontends.get(name)


def test_frames_are_pooled_as_their_name_says():
    sound = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    (frames,) = frontends.get("logmel").load()([sound])
    pooled = frontends.get("logmel.pooled")
    (got,) = pooled.load()([sound])
    assert got.shape == (1, pooled.spec.width) == (1, 160)
    np.testing.assert_allclose(got[0, :80], frames.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(got[0, 80:], frames.std(axis=0), atol=1e-6)
    every = frontends.get("logmel.every5")
    (got,) = every.load()([sound])
    assert (len(frames), len(got), every.spec.frames_per_s) == (29, 6, 10.0)
    np.testing.assert_allclose(got[0], frames[:5].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(got[-1], frames[25:].mean(axis=0), atol=1e-5)


def test_open_gives_front_ends_without_weights_too():
    assert frontends.open("logmel") is frontends.get("logmel")
    for option, value in (
        ("weights", "owner/model"),
        ("layer", "3"),
        ("dtype", "bfloat16"),
        ("backend", "torch"),
        ("compat", True),
        ("context", "short"),
    ):
        with pytest.raises(ValueError, match=f"logmel needs no .* leave {option}="):
            frontends.open("logmel", **{option: value})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("whisper", {}, "whisper is a kind of model: say which one by weights"),
        ("whisper", {"dtype": "float16"}, "'float16' is not one of float32, bfloat16"),
        ("whisper", {"backend": "tf"}, "'tf' is not one of jax, torch"),
        ("whisper", {"context": "10"}, "context='10' is not one of full, short"),
        (
            "whisper",
            {"context": "short", "compat": True},
            "compat needs context='full'",
        ),
        ("wavlm", {"context": "short"}, "is Whisper's alone; a wavlm reads an"),
        ("roberta_large", {"context": "short"}, "is Whisper's alone; a roberta"),
        ("hf_speech", {}, "hf_speech runs in PyTorch only: backend='torch'"),
        ("facodec", {"layer": "1"}, "facodec has only layer='last'"),
        ("facodec_prosody", {"dtype": "bfloat16"}, "has only dtype='float32'"),
        ("facodec", {"backend": "torch"}, "facodec has only backend='jax'"),
        (
            "whisper_v9",
            {},
            "'whisper_v9' is not one of bert, char_ngrams, .*, wav2vec2",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        frontends.open(name, **options)


def test_short_context_is_the_small_whispers_and_not_the_papers(tmp_path, monkeypatch):
    config = {"model_type": "whisper", "encoder_layers": 2}
    monkeypatch.setattr(weights, "digest", lambda folder, files: "0123456789abcdef")
    for name, width, context in (
        ("whisper_tiny", 384, "short"),
        ("whisper_base", 512, "short"),
        ("whisper_small", 768, "short"),
        ("whisper_large_v3", 1280, "full"),
        ("whisper", 8, "full"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {"d_model": width}))
        opened = functools.partial(frontends.open, name, weights=tmp_path)
        assert opened().spec.context == context
        assert opened(compat=True).spec.context == "full"
        for given in ("full", "short"):
            assert opened(context=given).spec.context == given
        # Features that are older than the choice are of 30 s, and described alike.
        full, short = (opened(context=c).spec for c in ("full", "short"))
        newer = ("context", "trimmed", "pooling")
        older = {k: v for k, v in dataclasses.asdict(full).items() if k not in newer}
        assert full.described() == older
        assert store.is_of(older, full)
        assert not store.is_of(older, short)
        assert store.is_of(short.described(), short)


def test_identity_is_what_the_name_decides():
    assert frontends.identity("whisper_large_v3") == {
        "name": "whisper_large_v3",
        "kind": "speech",
        "version": 1,
        "trimmed": False,
        "pooling": "",
    }
    assert frontends.identity("whisper_base-mine@2-4.trimmed.every5") == {
        "name": "whisper_base",
        "kind": "speech",
        "version": 1,
        "layer": "2-4",
        "trimmed": True,
        "pooling": "every5",
    }
    assert frontends.identity("char_ngrams")["width"] == NGRAM_BUCKETS
    assert "weights" not in frontends.identity("char_ngrams")


def test_the_configs_name_front_ends_that_there_are():
    for path in CONFIGS.glob("*.py"):
        if not path.stem.startswith("ensemble_"):
            for name in recipes.load(path).data.streams.values():
                front_end = FeatureName.parse(name).front_end
                assert frontends.identity(name)["name"] == front_end


def test_tiny_replaces_a_front_end_by_one_of_its_kind():
    for name, entry in frontends.PRETRAINED.items():
        stand_in = frontends.get(front_end_table.without_weights(name))
        assert stand_in.spec.kind == entry.kind, name
        assert (stand_in.spec.name == "prosody") == entry.prosody


def test_the_table_knows_every_front_end_without_weights():
    assert set(frontends.FRONT_ENDS) == set(front_end_table.WITHOUT_WEIGHTS)
    assert not set(frontends.FRONT_ENDS) & set(frontends.PRETRAINED)


def test_encoders_tell_how_far_they_are():
    done = []
    encode = frontends.get("char_ngrams").load()
    assert len(encode(["a", "b c"], done.append)) == sum(done) == 2
    assert encode.compiled == 0
