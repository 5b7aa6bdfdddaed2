"""The ONNX graph says what the networks say."""

import dataclasses
import functools

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
from tests.helpers.paths import FIXTURES

pytest.importorskip("onnx", reason='pip install "jser[export]"')
runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from jser.recognizer import export_onnx  # noqa: E402

STREAMS = {"speech": "logmel", "text": "char_ngrams", "prosody": "prosody"}
MODELS = {
    "probe": Model(kind="probe"),
    "pooling": Model(kind="pooling", hidden=6),
    "fusion": Model(hidden=6, heads={"speech": 3, "prosody": 2}),
    "deep": Model(kind="deep", hidden=6),
    "unmasked": Model(hidden=6, mask_padding=False, layers="beside"),
}
UNRATED = "unmasked"  # The one kind here that predicts no attributes.


@pytest.fixture(scope="module")
def every_kind() -> bundle.Bundle:
    """A bundle with an untrained member of each kind; its speech has two layers."""
    given = bundle.load(FIXTURES / "bundle")
    specs = {n: dataclasses.asdict(frontends.get(n).spec) for n in STREAMS.values()}
    specs["logmel"]["layers"] = 2
    members = [
        _member(kind, specs, number, attributes=kind != UNRATED)
        for number, kind in enumerate(MODELS)
    ]
    return dataclasses.replace(given, front_ends=specs, members=tuple(members))


@pytest.fixture(scope="module")
def session(every_kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx.save(every_kind, folder)
    return runtime.InferenceSession(folder / export_onnx.PROGRAM)


@pytest.mark.parametrize("lengths", [((1,),) * 3, ((9, 1, 4), (2, 5, 5), (1, 13, 3))])
def test_every_network_at_any_batch_and_length(every_kind, session, lengths, rng):
    """Of three streams with lengths of their own, noise in the place of padding."""
    frames, mask = {}, {}
    for (name, spec), real in zip(every_kind.front_ends.items(), lengths, strict=True):
        T = max(real) + 3
        layers = () if spec["layers"] == 1 else (spec["layers"],)
        shape = (len(real), T, *layers, spec["width"])
        frames[name] = rng.standard_normal(shape).astype(np.float16)
        mask[name] = np.arange(T) < np.array(real)[:, None]
    said, attributes = _run(session, frames, mask)
    rated = iter(np.moveaxis(attributes, 1, 0))
    for number, (kind, member) in enumerate(
        zip(MODELS, every_kind.members, strict=True)
    ):
        names = member.experiment.data.streams
        streams = {s: Stream(frames[n], mask[n]) for s, n in names.items()}
        model = make_model(member.experiment, len(every_kind.labels))
        apply = jax.jit(functools.partial(model.apply, train=False))
        want = apply(member.variables, streams)
        named = {"rtol": 1e-6, "atol": 1e-5, "err_msg": kind}
        np.testing.assert_allclose(said[:, number], want["emotion"], **named)
        if kind != UNRATED:
            by_hand = 1 + 6 / (1 + np.exp(-np.asarray(want["attributes"])))
            np.testing.assert_allclose(next(rated), by_hand, **named)
    assert next(rated, None) is None


@pytest.mark.parametrize(
    "folder",
    [FIXTURES / "bundle", *map(models.find, models.NAMES)],
    ids=lambda p: p.name,
)
def test_trained_models_say_what_they_say(folder, tmp_path, rng):
    model = bundle.load(folder)
    export_onnx.save(model, tmp_path)
    lengths = {"tiny": (31, 1, 100)}.get(model.name, (1, 1, 1))
    frames, padded, mask = {}, {}, {}
    for name, spec in model.front_ends.items():
        layers = () if spec["layers"] == 1 else (spec["layers"],)
        frames[name] = [_noise(rng, T, *layers, spec["width"]) for T in lengths]
        padded[name] = np.zeros((3, max(lengths), *layers, spec["width"]), np.float16)
        mask[name] = np.arange(max(lengths)) < np.array(lengths)[:, None]
        padded[name][mask[name]] = np.concatenate(frames[name])
    want, _, _ = Network(model).logits(frames, None)
    session = runtime.InferenceSession(tmp_path / export_onnx.PROGRAM)
    (said,) = _run(session, padded, mask)
    np.testing.assert_allclose(said, want, rtol=1e-6, atol=1e-5)


def test_the_manifest_says_how_the_graph_is_loaded(every_kind, tmp_path, monkeypatch):
    export_onnx.save(every_kind, tmp_path)
    manifest = files.read_json(tmp_path / export.MANIFEST)
    assert manifest["programs"].keys() == {export_onnx.PROGRAM}
    assert manifest["attributes"] == {
        "shape": ["B", 4, 3],
        "dtype": "float32",
        "names": ["arousal", "valence", "dominance"],
        "members": list(every_kind.attributes_of),
    }
    monkeypatch.chdir(tmp_path)
    exported.run_as_told(manifest, B=2, T=5)


def _member(kind: str, specs, seed: int, *, attributes: bool) -> Member:
    """Of random parameters, with statistics of random frames."""
    experiment = tiny_corpus.experiment(**STREAMS)
    data = dataclasses.replace(experiment.data, standardize=("speech", "text"))
    experiment = dataclasses.replace(
        experiment,
        **{"name": kind, "model": MODELS[kind], "data": data},
        tasks=Tasks(attributes=float(attributes)),
    )
    streams = {}
    for s, name in STREAMS.items():
        layers = () if specs[name]["layers"] == 1 else (specs[name]["layers"],)
        shape = (1, 1, *layers, specs[name]["width"])
        streams[s] = Stream(np.zeros(shape, np.float16), np.ones((1, 1), bool))
    model, rng = make_model(experiment, 3), np.random.default_rng(seed)
    init = functools.partial(model.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), streams)
    drawn = jax.tree.map(lambda x: rng.uniform(0.1, 0.9, x.shape).astype("f4"), shapes)
    params = jax.tree.map(lambda x: x - np.float32(0.5), drawn["params"])
    return Member(experiment, {"params": params, "standard": drawn["standard"]})


def _noise(rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float16)


def _run(session, frames, mask) -> list[np.ndarray]:
    given = {f"frames/{name}": x for name, x in frames.items()}
    given |= {f"mask/{name}": x for name, x in mask.items()}
    return session.run(None, given)
