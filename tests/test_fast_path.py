"""The network's fast form against the paper's, layer by layer: same logits, same
gradients, same parameters, and the same dropout."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.models import fusion
from jser.shapes import Stream
from tests import plain

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
    settings = {"streams": tuple(frames), "classes": C, "hidden": H, "dropout": 0.4}
    settings |= {"neutral_head": True} | options
    return fusion.FusionClassifier(**settings), plain.FusionClassifier(**settings)


def loss_of(model, train: bool):
    """A function of parameters and frames that every output takes part in."""

    def loss(params, frames, streams, weight, key):
        read = {s: dataclasses.replace(streams[s], x=frames[s]) for s in streams}
        rngs = {"dropout": key}
        say = model.apply({"params": params}, read, train=train, rngs=rngs)
        joined = jnp.concatenate([say["emotion"], say["neutral"]], axis=-1)
        return (joined * weight).sum(), joined

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def compare(frames: dict[str, int], tolerance: float, rng, **options) -> None:
    fast, slow = pair(frames, **options)
    streams = streams_of(frames, rng)
    init = lambda model: jax.jit(lambda key: model.init(key, streams, train=False))(
        jax.random.key(0)
    )["params"]
    params = init(fast)
    jax.tree.map(np.testing.assert_array_equal, params, init(slow))
    params = jax.tree.map(
        # Away from the initial zeros, and wide enough for attention to choose.
        lambda p: (2 * p + 0.2 * rng.standard_normal(p.shape)).astype(p.dtype),
        params,
    )
    train = bool(fast.dropout)
    of_fast, of_slow = loss_of(fast, train), loss_of(slow, train)
    for k in range(3):
        streams = streams_of(frames, rng)
        x = {s: streams[s].x for s in streams}
        weight = rng.standard_normal((B, C + 1)).astype(np.float32)
        args = (params, x, streams, weight, jax.random.key(k))
        (_, got), got_grads = of_fast(*args)
        (_, want), want_grads = of_slow(*args)
        assert np.ptp(want, axis=0).max() > 0.05
        np.testing.assert_allclose(got, want, atol=tolerance)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance),
            got_grads,
            want_grads,
        )
        assert min(np.abs(g).max() for g in want_grads[1].values()) > 1e-3


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("frames", "options"),
    [
        ({"speech": 7, "text": 3}, {}),
        ({"speech": 3, "text": 7}, {"heads": (("speech", 2), ("text", 2))}),
        ({"speech": 6, "text": 6, "prosody": 5}, {"heads": (("prosody", 2),)}),
        pytest.param({"speech": 7}, {}, marks=SLOW),
        pytest.param({"speech": 1, "text": 1}, {}, marks=SLOW),
        pytest.param({"speech": 7, "text": 3}, {"dropout": 0.0}, marks=SLOW),
        pytest.param({"speech": 7, "text": 3}, {"mask_padding": False}, marks=SLOW),
        pytest.param(
            {"speech": 7, "text": 2, "prosody": 5, "video": 8},
            {"heads": (("prosody", 2), ("speech", 4))},
            marks=SLOW,
        ),
    ],
)
def test_outputs_and_gradients_equal_the_plain_form(frames, options, rng):
    compare(frames, 1e-5, rng, **options)
