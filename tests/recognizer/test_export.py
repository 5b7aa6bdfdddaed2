"""A program that was exported says what the bundle says."""

import dataclasses

import jax
import numpy as np
import pytest

from jser import files
from jser.config import Model, Tasks
from jser.features import frontends
from jser.recognizer import bundle, export, models
from jser.recognizer.bundle import Member
from jser.recognizer.network import Network
from jser.shapes import Stream
from jser.training.network import make_model
from tests.helpers import exported, tiny_corpus

pytest.importorskip("flatbuffers")
FUNCTIONALS = models.find("emodb-functionals")


@pytest.fixture(params=["fusion", "deep"])
def over_time(request):
    """A bundle of an untrained member that reads frames over time, and words."""
    given = bundle.load(FUNCTIONALS)
    experiment = tiny_corpus.experiment(speech="logmel", text="char_ngrams")
    # States are wider than the first program is long: no B settles which is more.
    wide = dataclasses.replace(experiment.model, kind=request.param, hidden=20)
    experiment = dataclasses.replace(experiment, model=wide)
    specs = {n: dataclasses.asdict(frontends.get(n).spec) for n in _STREAMS}
    streams = {
        s: Stream(np.zeros((1, 4, specs[n]["width"])), np.ones((1, 4), bool))
        for s, n in experiment.data.streams.items()
    }
    model = make_model(experiment, len(given.labels))
    variables = model.init(jax.random.key(0), streams, train=False)
    member = Member(experiment, jax.device_get(variables))
    return dataclasses.replace(given, front_ends=specs, members=(member,), stacker=None)


_STREAMS = ("logmel", "char_ngrams")


@pytest.mark.slow
def test_programs_say_what_the_bundle_says_at_any_batch(over_time, tmp_path, rng):
    written = export.save(over_time, tmp_path)
    manifest = files.read_json(tmp_path / export.MANIFEST)
    assert [p.name for p in written] == [*manifest["programs"], export.MANIFEST]
    network = Network(over_time)
    for count, (name, about) in enumerate(list(manifest["programs"].items())[:2], 1):
        longest = about["frames"]
        lengths = {n: rng.integers(1, longest + 1, count) for n in _STREAMS}
        frames = {
            n: [_frames(rng, t, over_time.front_ends[n]["width"]) for t in lengths[n]]
            for n in _STREAMS
        }
        want, _, _ = network.logits(frames, None)
        logits = _call(tmp_path / name, frames, longest)
        assert logits.shape == want.shape
        np.testing.assert_allclose(logits, want, atol=1e-6)


def test_a_model_of_one_frame_is_one_program(tmp_path, rng):
    model = bundle.load(FUNCTIONALS)
    program, _ = export.save(model, tmp_path)
    ((name, spec),) = model.front_ends.items()
    frames = {name: [_frames(rng, 1, spec["width"]) for _ in range(3)]}
    want, _, _ = Network(model).logits(frames, None)
    np.testing.assert_allclose(_call(program, frames, 1), want, rtol=1e-6, atol=1e-6)


def test_the_manifest_says_how_a_program_is_loaded(tmp_path, rng, monkeypatch):
    model = bundle.load(FUNCTIONALS)
    export.save(model, tmp_path)
    manifest = files.read_json(tmp_path / export.MANIFEST)
    assert manifest["labels"] == list(model.labels)
    assert manifest["model"]["digest"] == model.digest
    monkeypatch.chdir(tmp_path)
    exported.run_as_told(manifest, B=2, T=1)


def test_attributes_are_a_second_output(tmp_path, rng, monkeypatch):
    """Of the second of two members alone, untrained."""
    given = bundle.load(FUNCTIONALS)
    ((name, spec),) = given.front_ends.items()
    first = given.members[0]
    experiment = dataclasses.replace(
        first.experiment,
        name="rates",
        model=Model(kind="pooling", hidden=8),
        tasks=Tasks(attributes=1.0),
    )
    network = make_model(experiment, len(given.labels))
    (stream,) = experiment.data.streams
    frames = Stream(np.zeros((1, 1, spec["width"])), np.ones((1, 1), bool))
    made = network.init(jax.random.key(0), {stream: frames}, train=False)
    second = Member(experiment, jax.device_get(made))
    model = dataclasses.replace(given, members=(first, second), stacker=None)
    program, _ = export.save(model, tmp_path)
    frames = {name: [_frames(rng, 1, spec["width"]) for _ in range(3)]}
    want, rated, _ = Network(model).logits(frames, None)
    assert list(rated) == ["rates"]
    logits, attributes = _call(program, frames, 1)
    np.testing.assert_allclose(logits, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(attributes[:, 0], rated["rates"], rtol=1e-6)
    manifest = files.read_json(tmp_path / export.MANIFEST)
    assert manifest["attributes"]["members"] == ["rates"]
    monkeypatch.chdir(tmp_path)
    exported.run_as_told(manifest, B=2, T=1)


def test_programs_are_for_three_platforms(tmp_path):
    program, _ = export.save(bundle.load(FUNCTIONALS), tmp_path)
    made = jax.export.deserialize(bytearray(program.read_bytes()))
    assert made.platforms == ("cpu", "cuda", "tpu")


def _frames(rng, T: int, width: int) -> np.ndarray:
    return rng.standard_normal((T, width)).astype(np.float16)


def _call(program, frames, T: int):
    padded = {
        n: np.stack([np.pad(x, ((0, T - len(x)), (0, 0))) for x in of])
        for n, of in frames.items()
    }
    mask = {
        n: np.arange(T) < np.array([[len(x)] for x in of]) for n, of in frames.items()
    }
    made = jax.export.deserialize(bytearray(program.read_bytes()))
    return jax.device_get(made.call(padded, mask))
