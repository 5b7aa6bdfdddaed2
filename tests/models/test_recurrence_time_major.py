"""Time-major loops against the loop that trains on CPUs and against the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.models import recurrence, recurrence_reference, recurrence_time_major
from jser.models.recurrence_time_major import Loop

B, T, D, H = 3, 9, 5, 8
LOOPS = [Loop(u, r) for u in (1, 4) for r in (False, True)]


def arguments(rng, frames: int, dtype: str):
    """Frames, 0 or what holds the state on padding, kernels and biases, weights."""
    length = np.array([1, frames, rng.integers(1, frames + 1)])
    hold = np.where(np.arange(frames) < length[:, None], 0.0, 1e4)
    draw = lambda *shape: rng.uniform(-1, 1, shape)
    ih, hh = ((draw(2, n, 3 * H), draw(2, 3 * H)) for n in (D, H))
    given = draw(B, frames, D), hold, ih, hh, draw(B, frames, 2 * H)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), given)


def states_and_gradients(bidirectional, x, hold, ih, hh, weight):
    def loss(x, hold, ih, hh):
        states = bidirectional(x, hold, ih, hh)
        return (states * weight).sum(), states

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
    grads, states = grad(x, hold, ih, hh)
    return states, grads


def compare(loop: Loop, dtype: str, frames: int, rng, tolerance: float) -> None:
    given = arguments(rng, frames, "float64" if dtype == "float64" else "float32")
    want, got = (
        states_and_gradients(f, *given)
        for f in (
            lambda *args: recurrence.bidirectional(dtype, *args),
            lambda *args: recurrence_time_major.bidirectional(loop, dtype, *args),
        )
    )
    assert min(np.abs(x).max() for x in jax.tree.leaves(want[1][0])) > 1e-2

    def close(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(close, got, want)


@pytest.mark.parametrize("frames", [1, T])
@pytest.mark.parametrize("loop", LOOPS, ids=str)
def test_states_and_gradients_are_those_of_the_other_loop(loop, frames, rng):
    compare(loop, "float32", frames, rng, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS, ids=str)
def test_they_are_in_float64_and_nearly_in_bfloat16(loop, rng):
    """Of bfloat16 the order of sums is another one before some roundings."""
    compare(loop, "bfloat16", T, rng, 0.03)
    with jax.enable_x64(True):
        compare(loop, "float64", T, rng, 1e-12)


@pytest.mark.parametrize("loop", [Loop(4, True)], ids=str)
def test_they_are_those_of_the_plain_form(loop, rng):
    """Gradients of one time step after another, by JAX."""
    x, hold, ih, hh, weight = arguments(rng, T, "float32")
    plain = recurrence_reference.BiGru(H)
    mask = hold == 0

    def params(ih, hh):
        direction = lambda k: {
            "ih": {"kernel": ih[0][k], "bias": ih[1][k]},
            "step": {"hh": {"kernel": hh[0][k], "bias": hh[1][k]}},
        }
        return {"params": {"forward": direction(0), "backward": direction(1)}}

    want, got = (
        states_and_gradients(f, x, hold, ih, hh, weight * mask[..., None])
        for f in (
            lambda x, hold, ih, hh: plain.apply(params(ih, hh), x, mask),
            lambda *args: recurrence_time_major.bidirectional(loop, "float32", *args),
        )
    )
    real = lambda states: states * mask[..., None]
    np.testing.assert_allclose(real(got[0]), real(want[0]), atol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, got[1], want[1])
