"""A probe is one linear layer on means over time, and nothing else."""

import jax
import numpy as np
import pytest

from jser import recipes
from jser.models import probe
from jser.shapes import Stream
from jser.training import predict, train
from tests.helpers import tiny_corpus

C, L = 3, 4
SHAPES = {"speech": (L, 5), "text": (6,)}  # Speech carries layers.


def draw(count: int, rng) -> list[dict[str, np.ndarray]]:
    """Utterances of 1 to 6 frames."""
    return [
        {s: rng.standard_normal((rng.integers(1, 7), *x)) for s, x in SHAPES.items()}
        for _ in range(count)
    ]


def batch(utterances: list[dict[str, np.ndarray]], frames: int) -> dict[str, Stream]:
    """Pads utterances with rubbish."""
    streams = {}
    for s, shape in SHAPES.items():
        length = np.array([len(u[s]) for u in utterances])
        x = np.full((len(utterances), frames, *shape), 7.0, np.float32)
        for row, u in zip(x, utterances, strict=True):
            row[: len(u[s])] = u[s]
        streams[s] = Stream(x=x, mask=np.arange(frames) < length[:, None])
    return streams


def network(**options) -> probe.LinearProbe:
    return probe.LinearProbe(streams=tuple(SHAPES), classes=C, **options)


def drawn(net: probe.LinearProbe, streams: dict[str, Stream], rng):
    """Its parameters, at random; they start at zero."""
    params = net.init(jax.random.key(0), streams, train=False)["params"]
    return jax.tree.map(
        lambda x: rng.standard_normal(x.shape).astype(np.float32), params
    )


@pytest.mark.parametrize("layers", ["mix", "beside"])
def test_it_is_a_linear_layer_on_means_of_real_frames(layers, rng):
    net, utterances = network(layers=layers), draw(5, rng)
    params = drawn(net, batch(utterances, 7), rng)
    speech = np.stack([u["speech"].mean(axis=0) for u in utterances])
    if layers == "mix":
        score = params["speech_input"]["layers"]
        speech = np.einsum("bld,l->bd", speech, np.exp(score) / np.exp(score).sum())
    text = np.stack([u["text"].mean(axis=0) for u in utterances])
    joint = np.concatenate([speech.reshape(5, -1), text], axis=1)
    want = joint @ params["logits"]["kernel"] + params["logits"]["bias"]
    say = lambda streams: net.apply({"params": params}, streams, train=False)["emotion"]
    for frames in (6, 9):
        np.testing.assert_allclose(say(batch(utterances, frames)), want, atol=1e-5)
    alone = [say(batch([u], 6))[0] for u in utterances]
    np.testing.assert_allclose(alone, want, atol=1e-5)


def test_it_starts_with_no_opinion(rng):
    streams = batch(draw(4, rng), 6)
    logits, params = network().init_with_output(jax.random.key(0), streams, train=False)
    assert not np.any(logits["emotion"])
    assert set(params["params"]) == {"speech_input", "logits"}  # Nothing hidden.


def test_mixup_and_dropout_act_on_the_joint_vector(rng):
    net, streams = network(layers="beside", dropout=0.5), batch(draw(4, rng), 6)
    params = {"params": drawn(net, streams, rng)}
    say = lambda train, **options: net.apply(
        params, streams, train=train, rngs={"dropout": jax.random.key(1)}, **options
    )["emotion"]
    bias = params["params"]["logits"]["bias"]
    nothing = say(True, on_joint=lambda joint: 0 * joint)
    np.testing.assert_allclose(nothing, np.broadcast_to(bias, (4, C)), atol=1e-6)
    assert np.abs(say(True) - say(False)).max() > 0.1


def test_a_probe_trains_and_predicts(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    c = tiny_corpus.experiment()
    c.model.kind, c.model.hidden, c.model.dropout = "probe", 512, 0.0
    c.data.standardize = ("speech",)
    c.optim.lr, c.epochs = 1e-2, 8
    state = train.train(c.check(), roots)
    assert set(state.params) == {"logits"}
    logits = predict.predict(roots, roots.workdir(c), "dev")
    assert (logits.logits.argmax(axis=1) == logits.label).mean() > 0.6


def test_a_tiny_probe_has_no_hidden_layer_either(experiment):
    experiment.model.kind, experiment.model.hidden = "probe", 512
    assert recipes.tiny(experiment).check().model.hidden == 512
