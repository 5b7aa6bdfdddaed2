"""The fast form of the network against the paper's: outputs, gradients, dropout.

Both have the same parameters, and draw the same ones from a key.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.models import baseline, fusion
from jser.shapes import Stream
from tests.helpers import reference_layers

WIDTH = {"speech": 5, "text": 4, "prosody": 3, "video": 6}
B, C, H = 3, 3, 8


def streams_of(frames: dict[str, int], rng) -> dict[str, Stream]:
    """Utterances of 1 frame to all, one of each at least."""
    found = {}
    for s, T in frames.items():
        length = np.array([1, T, rng.integers(1, T + 1)])
        x = rng.standard_normal((B, T, WIDTH[s])).astype(np.float32)
        found[s] = Stream(x=x, mask=np.arange(T) < rng.permutation(length)[:, None])
    return found


def pair(frames: dict[str, int], **options):
    """The fast network and the plain one."""
    settings = {"streams": tuple(frames), "classes": C, "hidden": H, "dropout": 0.4}
    settings |= {"neutral_head": True} | options
    return fusion.FusionClassifier(**settings), reference_layers.FusionClassifier(
        **settings
    )


def shapes_of(model, streams):
    init = lambda key: model.init(key, streams, train=False)["params"]
    return jax.eval_shape(init, jax.random.key(0))


def loss_of(model):
    """Value and gradients, by parameters and frames, of a sum over all outputs."""

    def loss(params, frames, streams, weight, key):
        read = {s: dataclasses.replace(streams[s], x=frames[s]) for s in streams}
        train, rngs = bool(model.dropout), {"dropout": key}
        say = model.apply({"params": params}, read, train=train, rngs=rngs)
        joined = jnp.concatenate([say["emotion"], say["neutral"]], axis=-1)
        return (joined * weight).sum(), joined

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def compare(frames: dict[str, int], rng, tolerance: float = 1e-5, **options) -> None:
    fast, slow = pair(frames, **options)
    streams = streams_of(frames, rng)
    shapes = shapes_of(fast, streams)
    assert shapes == shapes_of(slow, streams)
    params = jax.tree.map(
        lambda p: (
            rng.uniform(0.5, 1, p.shape) * rng.choice((-1, 1), p.shape) / 2
        ).astype(options.get("dtype", "float32")),
        shapes,
    )
    of_fast, of_slow = loss_of(fast), loss_of(slow)
    for k in range(3):
        streams = streams_of(frames, rng)
        x = {s: streams[s].x for s in streams}
        weight = rng.standard_normal((B, C + 1)).astype(np.float32)
        args = (params, x, streams, weight, jax.random.key(k))
        (_, got), got_grads = of_fast(*args)
        (_, want), want_grads = of_slow(*args)
        assert np.ptp(want, axis=0).max() > 0.05
        assert min(np.abs(g).max() for g in want_grads[1].values()) > 1e-3
        np.testing.assert_allclose(got, want, atol=tolerance)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance),
            got_grads,
            want_grads,
        )


SLOW = pytest.mark.slow
SHORTER_TEXT, SHORTER_SPEECH = {"speech": 8, "text": 6}, {"speech": 3, "text": 7}


@pytest.mark.parametrize(
    ("frames", "options"),
    [
        (SHORTER_TEXT, {}),
        (SHORTER_SPEECH, {"heads": (("text", 2),)}),
        pytest.param(
            {"speech": 6, "text": 6, "prosody": 5},
            {"heads": (("prosody", 2),)},
            marks=SLOW,
        ),
        pytest.param({"speech": 7}, {}, marks=SLOW),
        pytest.param({"speech": 1, "text": 1}, {}, marks=SLOW),
        pytest.param(SHORTER_TEXT, {"dropout": 0.0}, marks=SLOW),
        pytest.param(SHORTER_TEXT, {"mask_padding": False}, marks=SLOW),
        pytest.param(
            {"speech": 7, "text": 2, "prosody": 5, "video": 8},
            {"heads": (("prosody", 2), ("speech", 4))},
            marks=SLOW,
        ),
    ],
)
def test_outputs_and_gradients_equal_the_plain_form(frames, options, rng):
    compare(frames, rng, **options)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [SHORTER_TEXT, SHORTER_SPEECH])
def test_they_are_equal_in_float64_too(frames, rng):
    """What remains in float32 is rounding."""
    with jax.enable_x64(True):
        heads = (("text", 2),)
        compare(frames, rng, tolerance=1e-12, heads=heads, dtype="float64")


@pytest.mark.slow
def test_initial_parameters_are_the_plain_forms(rng):
    frames = {"speech": 2, "text": 2}
    streams = streams_of(frames, rng)
    fast, slow = (
        jax.jit(lambda key, m=m: m.init(key, streams, train=False))(jax.random.key(0))
        for m in pair(frames)
    )
    jax.tree.map(np.testing.assert_array_equal, fast, slow)


@pytest.mark.parametrize("kind", [pytest.param("fusion", marks=SLOW), "pooling"])
def test_products_in_bfloat16_move_results_a_little(kind, rng):
    """All that comes out is float32."""
    frames = {"speech": 7, "text": 3}
    settings = {"streams": tuple(frames), "classes": C, "hidden": H}
    network = {
        "fusion": fusion.FusionClassifier,
        "pooling": baseline.PoolingClassifier,
    }[kind]
    streams = streams_of(frames, rng)
    params = jax.tree.map(
        lambda p: rng.standard_normal(p.shape).astype(np.float32) / 4,
        shapes_of(network(**settings), streams),
    )

    def said(dtype: str):
        def loss(params):
            model = network(**settings, dtype=dtype)
            logits = model.apply({"params": params}, streams, train=False)["emotion"]
            return (logits**2).sum(), logits

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    exact, rounded = said("float32"), said("bfloat16")
    assert np.abs(rounded[1] - exact[1]).max() > 1e-5
    pairs = zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True)
    for want, got in pairs:
        assert got.dtype == np.float32
        scale = np.abs(want).max() + 1e-3
        np.testing.assert_allclose(got / scale, want / scale, atol=0.05)
