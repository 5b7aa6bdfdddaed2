"""Whisper base itself on EMO-DB itself; skipped where they are not."""

import os
import pathlib

import numpy as np
import pytest

from jser import audio, encoders, recipes
from jser.corpora import emodb, prepare
from jser.encoders.transcriber import Transcriber, windows
from jser.features import frontends
from jser.features.extract import extract
from jser.roots import HELDOUT, Roots
from jser.statistics import metrics
from jser.training.predict import predict
from jser.training.train import train
from tests.helpers import tiny_checkpoints
from tests.helpers.paths import SHARED

SOURCE = SHARED / "data" / "emodb"
FOLDER = pathlib.Path(os.environ.get("JSER_WHISPER_BASE") or "none")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason="JSER_WHISPER_BASE names no folder with Whisper base's weights",
    ),
    pytest.mark.skipif(
        not SOURCE.exists(), reason="EMO-DB is not in ../shared/data/emodb"
    ),
]
# One of each of three speakers, two of them women.
NAMES = ("03a01Fa", "08b02Wd", "13a05Ea")


@pytest.fixture(scope="module")
def sounds():
    return [audio.load(next(SOURCE.rglob(f"{name}.*"))) for name in NAMES]


@pytest.fixture(scope="module")
def peer():
    """Transformers' Whisper, in PyTorch."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    return transformers.WhisperForConditionalGeneration.from_pretrained(FOLDER).eval()


def test_every_layer_equals_pytorch(sounds, peer):
    encode = encoders.load(FOLDER, layer="all", context="full")
    for x, got in zip(sounds, encode(sounds), strict=True):
        want = tiny_checkpoints.reference(peer, FOLDER, x)
        difference = np.sqrt(np.square(got - want).mean(axis=(0, 2)))
        size = np.sqrt(np.square(want).mean(axis=(0, 2)))
        assert (difference / size).max() < 5e-4  # The weights are of float16.


def test_short_context_hears_much_the_same(sounds):
    full, short = (
        encoders.load(FOLDER, layer="all", context=c)(sounds) for c in ("full", "short")
    )
    for a, b in zip(full, short, strict=True):
        product = (a * b).sum(-1)
        sizes = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosine = (product / sizes).mean(axis=0)
        assert (cosine > [0.999, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93]).all()


def test_sentences_are_heard(sounds):
    model = Transcriber(str(FOLDER), language="de")
    said = model.transcribe(windows(x, model.bands) for x in sounds)
    sentence = {u.utt_id: u.transcript for u in emodb.read(SOURCE).rows}
    for name, heard in zip(NAMES, said, strict=True):
        known = sentence[name]
        words = {w.strip(".,").lower() for w in known.split()}
        there = {w.strip(".,").lower() for w in heard.text.split()}
        assert len(words & there) >= len(words) / 2, (known, heard.text)


def test_nobody_speaks_in_silence_noise_and_music(sounds):
    rng, second = np.random.default_rng(0), audio.SAMPLE_RATE_HZ
    time_s = np.arange(2 * second) / second
    noise = rng.standard_normal(len(time_s))
    beat = np.exp(-20 * (time_s % 0.5)) * np.sin(2 * np.pi * 80 * (time_s % 0.5))
    hiss = 0.5 * np.exp(-30 * ((time_s + 0.25) % 0.5)) * noise
    tones = (220 * third * n for third in (1, 1.26, 1.5) for n in range(1, 6))
    chord = sum(np.sin(2 * np.pi * f * time_s) for f in tones) / 15
    quiet = [0 * noise, 1e-4 * noise, 0.01 * noise, 0.1 * noise]
    music = [0.4 * (beat + hiss), 0.3 * chord * np.exp(-2 * (time_s % 1))]
    both = [*(x.astype(np.float32) for x in quiet + music), *sounds]
    model = Transcriber(str(FOLDER))
    texts = list(model.transcribe(windows(x, model.bands) for x in both))
    others = len(both) - len(sounds)
    assert [t.note for t in texts] == ["no_speech"] * others + [""] * len(sounds)


def test_a_probe_knows_a_speaker_it_never_heard(tmp_path):
    """Three speakers teach it the fourth; chance is 1/7."""
    roots = Roots(data=tmp_path / "data", features=tmp_path / "f", runs=tmp_path / "r")
    source = tmp_path / "source"
    source.mkdir()
    for path in SOURCE.rglob("*.flac"):
        if path.name[:2] in ("08", "10", "11", "13"):
            (source / path.name).symlink_to(path)
    table = prepare.prepare("emodb", source, roots.data / "emodb", policy="loso")
    config = recipes.load("emodb_whisper_probe")
    (name,) = config.data.streams.values()
    extract(table, frontends.open(name, weights=FOLDER), roots.features)
    config.data.holdout = (3,)
    train(config.check(), roots)
    said = predict(roots, roots.workdir(config), HELDOUT)
    predicted = said.logits.argmax(axis=1)
    assert metrics.scores(said.label, predicted, 7)["uar"] > 0.7
