"""Answers about single sounds, by a model that an earlier version of jser left."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from jser import audio
from jser.recognizer import bundle
from jser.recognizer.profiles import Profile
from jser.recognizer.recognition import UNKNOWN
from jser.recognizer.recognizer import Recognizer
from tests.helpers.paths import FIXTURES
from tests.helpers.tiny_corpus import tone

GOLDEN = FIXTURES / "bundle"
RATE_HZ = 16_000
CAUTION = {"caution": "trained on three tones"}


@pytest.fixture(scope="module")
def r():
    return Recognizer.load(GOLDEN)


def speech(seconds: float = 1.5, hz: float = 270, seed: int = 0) -> np.ndarray:
    x = tone(hz, seconds)
    noise = np.random.default_rng(seed).standard_normal(len(x))
    return (x + 0.05 * noise).astype(np.float32)


def test_a_model_of_an_earlier_version_says_what_it_said(r):
    """If this fails, models that people have would answer otherwise: migrate them."""
    want = json.loads((GOLDEN / "said.json").read_text())
    for hz, scores in want.items():
        said = r((speech(hz=float(hz)), RATE_HZ)).scores
        assert said == pytest.approx(scores, abs=2e-5)


def test_an_answer_is_whole(r):
    a = r((speech(), RATE_HZ))
    assert sum(a.scores.values()) == pytest.approx(1)
    assert list(a.scores) == sorted(a.scores, key=lambda k: -a.scores[k])
    assert set(a.scores) == set(r.labels)
    assert a.candidates[0] == next(iter(a.scores))
    assert a.duration_s == pytest.approx(1.5)
    assert a.embedding.dtype == np.float32
    assert a.embedding.ndim == 1
    assert a.model == {"name": r.name, "digest": r.digest}
    assert json.loads(a.to_json())["scores"] == pytest.approx(dict(a.scores))
    assert len(r((speech(), RATE_HZ), top_k=1).scores) == 1


def test_arrays_of_any_kind_are_one_sound(r):
    x = speech()
    want = r((x, RATE_HZ)).scores
    stereo = np.stack([x, x], axis=1)
    integers = np.round(x * 32768).clip(-32768, 32767).astype(np.int16)
    for given in (stereo, x.astype(np.float64), integers):
        assert r((given, RATE_HZ)).scores == pytest.approx(want, abs=2e-3)


def test_bytes_of_eight_bits_are_centred(r):
    x = np.clip(speech(), -1, 1)
    unsigned = np.round(x * 127 + 128).astype(np.uint8)
    want = r((x, RATE_HZ)).scores
    assert r((unsigned, RATE_HZ)).scores == pytest.approx(want, abs=0.05)
    with pytest.raises(audio.AudioError, match="it is of bool"):
        r((x > 0, RATE_HZ))


def test_a_profile_leaves_out_what_cannot_be_used(r, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(), RATE_HZ)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    assert Recognizer.load(GOLDEN).adapt(tmp_path, "x").recordings == 1
    (tmp_path / "a.wav").unlink()
    with pytest.raises(ValueError, match="none of the sounds can be used"):
        r.adapt(tmp_path, "x")
    with pytest.raises(TypeError, match="give a list of sounds"):
        r.adapt("sounds", "x")
    with pytest.raises(ValueError, match=r"b\.wav: no such folder. Give one, or"):
        r.adapt(tmp_path / "b.wav", "x")


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_other_rates_are_resampled(r, rate_hz, tmp_path):
    x = tone(270, 1.0, rate_hz)
    soundfile.write(tmp_path / "a.wav", x, rate_hz)
    by_file, by_array = r(tmp_path / "a.wav"), r((x, rate_hz))
    assert by_file.scores == pytest.approx(by_array.scores, abs=1e-2)
    assert by_file.duration_s == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros((2, 2, 2), np.float32), "empty"),
        (np.full(8000, np.nan, np.float32), "non-finite"),
        (np.zeros(100, np.float32), "too short"),
        (np.zeros((2, RATE_HZ), np.float32), "too short"),
    ],
)
def test_what_is_no_sound_says_why(r, samples, reason):
    with pytest.raises(audio.AudioError) as e:
        r((samples, RATE_HZ))
    assert e.value.reason == reason
    assert ("; it is [n, channels]" in e.value.detail) == (reason == "too short")


def test_silence_is_unknown(r):
    a = r((np.zeros(RATE_HZ, np.float32), RATE_HZ))
    assert a.label == UNKNOWN
    assert any(w.startswith("silence") for w in a.warnings)


def test_what_makes_an_answer_worth_less_is_said(r, tmp_path):
    assert any("short" in w for w in r((speech(0.2), RATE_HZ)).warnings)
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert any(w.startswith("far") for w in r((0.2 * noise, RATE_HZ)).warnings)
    loud = np.clip(8 * speech(), -1, 1)
    inverted = np.stack([speech(), -speech()], axis=1)
    for samples, note in ((loud, "clipped"), (inverted, "its channels cancel")):
        soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, "FLOAT")
        of_file, of_array = r(tmp_path / "a.wav"), r((samples, RATE_HZ))
        assert any(w.startswith(note) for w in of_file.warnings)
        assert of_array.warnings == of_file.warnings
        assert of_array.scores == of_file.scores
        with audio.Stream(tmp_path / "a.wav") as stream:
            assert r(stream).warnings == of_file.warnings
    assert r.timeline((samples, RATE_HZ)) == r.timeline(tmp_path / "a.wav")


def test_one_bad_file_ends_no_other(r, tmp_path):
    for name in "ac":
        soundfile.write(tmp_path / f"{name}.wav", speech(seed=ord(name)), RATE_HZ)
    (tmp_path / "b.wav").write_bytes(b"RIFF and nothing else")
    a, b, c = r.many(tmp_path)
    assert isinstance(b, audio.AudioError)
    assert a.file.endswith("a.wav")
    assert c.file.endswith("c.wav")
    assert c.scores == pytest.approx(r(tmp_path / "c.wav").scores, abs=1e-5)


def test_unknown_options_are_named(r):
    x = (speech(), RATE_HZ)
    with pytest.raises(ValueError, match=r"coverage 0.85 is not one of 0.5, "):
        r(x, coverage=0.85)
    with pytest.raises(ValueError, match="no profile 'office'; there are none yet"):
        r(x, profile="office")
    with pytest.raises(ValueError, match="top_k: 0"):
        r(x, top_k=0)
    for texts in ([], ["one"], ["one", "two", "three"]):
        with pytest.raises(ValueError, match=f"transcripts: {len(texts)}, and 2 soun"):
            list(r.many([x, x], transcripts=texts))


def test_more_coverage_never_leaves_a_candidate_out(r):
    x = (speech(hz=330), RATE_HZ)
    kept = [set(r(x, coverage=c).candidates) for c in (0.5, 0.8, 0.99)]
    assert kept[0] <= kept[1] <= kept[2] == set(r.labels)


class TestProfile:
    def test_answers_by_it_name_it_and_others_do_not_change(self, tmp_path):
        r, x = Recognizer.load(GOLDEN), (speech(), RATE_HZ)
        before = r(x).scores
        office = [(0.2 * speech(hz=200 + 20 * i, seed=i), RATE_HZ) for i in range(12)]
        r.adapt(office, "office")
        by = r(x, profile="office")
        assert by.model["profile"] == "office"
        assert by.scores != pytest.approx(before, abs=1e-3)
        assert r(x).scores == pytest.approx(before, abs=1e-7)
        again, path = Recognizer.load(GOLDEN), tmp_path / "office.npz"
        r.profiles["office"].save(path)
        again.use(Profile.load(path))
        assert again(x, profile="office").scores == pytest.approx(by.scores)

    def test_few_recordings_hardly_move_it_and_many_do(self, r):
        rng = np.random.default_rng(0)
        frames = [rng.standard_normal((5, 3)) + 4 for _ in range(800)]
        few, many = (
            Profile.of("x", r.digest, {"logmel": [f.astype(np.float16) for f in some]})
            for some in (frames[:1], frames)
        )
        mean, deviation = np.zeros(3, np.float32), np.ones(3, np.float32)
        assert few.shrunk("logmel", mean, deviation)["mean"] == pytest.approx(
            4 / 9, abs=0.15
        )
        moved = many.shrunk("logmel", mean, deviation)
        assert moved["mean"] == pytest.approx(4, abs=0.1)

    @pytest.mark.parametrize(("recordings", "told"), [(1, "1 recording;"), (8, "")])
    def test_while_it_is_small_the_models_caution_stays(self, r, recordings, told):
        model = dataclasses.replace(r._bundle, about=r._bundle.about | CAUTION)
        by = Recognizer(model)
        by.adapt([(speech(seed=i), RATE_HZ) for i in range(recordings)], "office")
        said = by((speech(), RATE_HZ), profile="office").warnings
        assert (CAUTION["caution"] in said) == bool(told)
        assert any(told in w for w in said if "profile 'office'" in w) == bool(told)

    def test_another_models_is_refused(self, r):
        other = Profile.of("x", "0" * 16, {"logmel": [np.ones((2, 3), np.float16)]})
        with pytest.raises(ValueError, match="is of model 0000000000000000"):
            r.use(other)

    def test_a_person_who_is_always_the_same_is_warned_of(self):
        r = Recognizer.load(GOLDEN)
        few = r.enrol("anna", [(speech(seed=i), RATE_HZ) for i in range(3)])
        assert "below 8" in few.caution
        alike = r.enrol("anna", [(speech(seed=i), RATE_HZ) for i in range(9)])
        assert "of the recordings sound" in alike.caution
        said = r((speech(), RATE_HZ), profile="anna")
        assert alike.caution in said.warnings

    def test_a_damaged_one_is_one_line(self, tmp_path):
        path = tmp_path / "x.npz"
        path.write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(ValueError, match="Make it again with jser recognize"):
            Profile.load(path)
        with pytest.raises(FileNotFoundError, match="no profile there"):
            Profile.load(tmp_path / "none.npz")


def test_the_golden_model_is_small_and_has_no_pickle():
    held = {p.name: p.stat().st_size for p in GOLDEN.iterdir()}
    assert set(held) == {"config.json", "model.safetensors", "README.md", "said.json"}
    assert sum(held.values()) < 100_000
    assert bundle.load(GOLDEN).name == "tiny"
