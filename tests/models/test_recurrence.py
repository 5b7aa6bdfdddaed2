"""Both loops of the recurrence against each other, the plain form, and programs."""

import functools
import operator

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from jser.models import (
    recurrence,
    recurrence_batch_major,
    recurrence_reference,
    recurrence_time_major,
)

B, T, D, H = 3, 9, 5, 8


def by_steps(dtype, *stream):
    return recurrence_time_major.bidirectional(dtype, stream)[0]


LOOPS = [recurrence_batch_major.bidirectional, by_steps]


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


def compare(dtype: str, frames: int, rng, tolerance: float) -> None:
    given = arguments(rng, frames, "float64" if dtype == "float64" else "float32")
    want, got = (
        states_and_gradients(functools.partial(loop, dtype), *given) for loop in LOOPS
    )
    assert min(np.abs(x).max() for x in jax.tree.leaves(want[1][0])) > 1e-2

    def close(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(close, got, want)


@pytest.mark.parametrize("frames", [1, T])
def test_both_loops_have_the_same_states_and_gradients(frames, rng):
    compare("float32", frames, rng, 1e-5)


def test_streams_in_one_loop_are_as_alone(rng):
    """Of other widths and lengths, and only some of them alike."""
    frames = (T, 5, T - 2)
    given = [arguments(rng, n, "float32") for n in frames]
    streams, weights = [g[:4] for g in given], [g[4] for g in given]

    def loss(bidirectional, streams):
        states = bidirectional(streams)
        of = zip(states, weights, strict=True)
        return sum((s * w).sum() for s, w in of), states

    def made(bidirectional):
        return jax.jit(jax.grad(functools.partial(loss, bidirectional), has_aux=True))(
            streams
        )

    want = made(lambda x: [by_steps("float32", *s) for s in x])
    joint = lambda x: recurrence_time_major.bidirectional("float32", *x)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, made(joint), want)
    text = jax.jit(lambda x: recurrence.bidirectional("float32", x)).trace(streams)
    loops = text.lower(lowering_platforms=("cuda",)).as_text().count("stablehlo.while")
    assert loops == 2  # Of 9 and 7 frames one, and that of 5.


@pytest.mark.slow
def test_they_have_in_float64_and_nearly_in_bfloat16(rng):
    """Of bfloat16 the order of sums is another one before some roundings."""
    compare("bfloat16", T, rng, 0.03)
    with jax.enable_x64(True):
        compare("float64", T, rng, 1e-12)


@pytest.mark.parametrize("loop", LOOPS)
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
            functools.partial(loop, "float32"),
        )
    )
    real = lambda states: states * mask[..., None]
    np.testing.assert_allclose(real(got[0]), real(want[0]), atol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, got[1], want[1])


def program(platforms) -> export.Exported:
    """States and gradients, from one text for several platforms."""
    given = arguments(np.random.default_rng(0), T, "float32")

    def states_and_them(*args):
        one = lambda *stream: recurrence.bidirectional("float32", [stream])[0]
        return states_and_gradients(one, *args)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), given)
    return export.export(jax.jit(states_and_them), platforms=platforms)(*shapes)


def test_a_program_for_several_platforms_has_the_loop_of_each(rng):
    together = program(("cpu", "cuda", "tpu"))
    given = arguments(rng, T, "float32")
    bidirectional = functools.partial(recurrence_batch_major.bidirectional, "float32")
    got, want = together.call(*given), states_and_gradients(bidirectional, *given)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    # 2 passes with a loop each, for CPUs and for the others.
    loops = lambda platforms: program(platforms).mlir_module().count("stablehlo.while")
    assert together.mlir_module().count("stablehlo.while") == 4
    assert loops(("cpu",)) == loops(("cuda",)) == 2
    assert program(("cuda",)).mlir_module() != program(("cpu",)).mlir_module()


@pytest.mark.parametrize("loop", LOOPS)
def test_members_side_by_side_have_what_each_has_alone(loop, rng):
    members = [arguments(rng, T, "float32") for _ in range(3)]
    alone = functools.partial(states_and_gradients, functools.partial(loop, "float32"))
    together = jax.vmap(alone)(*jax.tree.map(lambda *x: jnp.stack(x), *members))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for i, given in enumerate(members):
        mine = jax.tree.map(operator.itemgetter(i), together)
        jax.tree.map(close, mine, alone(*given))
