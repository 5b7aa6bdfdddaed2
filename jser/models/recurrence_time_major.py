"""The recurrence for accelerators: a step is launched in as few pieces as can be.

Few of them matter more than few bytes. So time is the first axis, and the backward
direction's frames are reversed once, before they are projected; a step reads one slice
of what was computed before the loop and adds one row to what is computed after it. The
forward loop leaves the states alone, from which the backward pass computes the
activations of all steps again in one product: faster than saving them. What the
gradient of a state is multiplied with is known before the backward loop, which leaves
those gradients alone. Streams of like lengths go side by side in one loop: a step of
four directions takes hardly longer than one of two.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from jser.shapes import Array

_UNROLL = 4  # Time steps in the body of a loop; 16 are no faster.

# Of a stream: frames, what is added to update gates, kernels and biases, twice; as
# `recurrence.bidirectional` takes them.
Stream = tuple[Array, Array, tuple[Array, Array], tuple[Array, Array]]


class _Activations(NamedTuple):
    """Gates of all steps, and the recurrent half of the gate n; [T, 2, B, H] each."""

    r: Array
    z: Array
    n: Array
    nh: Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def bidirectional(dtype: str, *streams: Stream) -> list[Array]:
    """`recurrence.bidirectional` of streams of one width, in one scan over steps."""
    return _forward(dtype, *streams)[0]


class _Saved(NamedTuple):
    """What the backward pass needs of a stream."""

    x: Array  # 2 T B D, as `_in_steps`.
    hold: Array
    kernel: Array  # 2 D G.
    weight: Array  # 2 H G.
    nh_bias: Array  # 2 1 H.
    gates: Array  # 2 T B G; the input's, with all that is added to them.
    states: Array  # 2 T B H.


def _forward(dtype, *streams):
    saved = [_before_the_loop(dtype, *stream) for stream in streams]
    gates_KTBG, wide = _beside([s.gates for s in saved]), streams[0][0].dtype
    weight_KHG, nh_bias_K1H = (
        jnp.concatenate(of)
        for of in ([s.weight for s in saved], [s.nh_bias for s in saved])
    )
    (K, T, B, _), H = gates_KTBG.shape, weight_KHG.shape[1]

    def step(carry, t):
        h_KBH, narrow_KBH = carry
        hidden_KBG = _dot("k...h,khg->k...g", narrow_KBH, weight_KHG, wide)
        a = _activations(_at(gates_KTBG, t), hidden_KBG, nh_bias_K1H)
        h_KBH = a.n + a.z * (h_KBH - a.n)
        # Narrow here, in the kernel that has it, and not in one of its own.
        return (h_KBH, h_KBH.astype(dtype)), h_KBH

    start = jnp.zeros((K, B, H), wide), jnp.zeros((K, B, H), dtype)
    order = jnp.arange(T)
    _, states_TKBH = lax.scan(step, start, order, unroll=min(_UNROLL, T))
    apart = _apart(states_TKBH.swapaxes(0, 1), [s.gates.shape[1] for s in saved])
    saved = [s._replace(states=x) for s, x in zip(saved, apart, strict=True)]
    return [_in_time(s.states) for s in saved], saved


def _before_the_loop(dtype, x, hold, ih, hh) -> _Saved:
    """A stream's part of what the loop reads; it leaves the states."""
    H = hh[0].shape[1]
    x_2TBD = _in_steps(x.astype(dtype))
    gates_2TBG = _dot("k...d,kdg->k...g", x_2TBD, ih[0], x.dtype)
    # All that is added to the gates r and z, and the input's half of n.
    rz_bias, nh_bias = jnp.split(hh[1][:, None], (2 * H,), axis=-1)
    bias_2G = ih[1] + jnp.pad(rz_bias[:, 0], ((0, 0), (0, H)))
    is_z = (jnp.arange(3 * H) // H == 1).astype(x.dtype)
    gates_2TBG += bias_2G[:, None, None] + _in_steps(hold[..., None]) * is_z
    weight_2HG, nothing = hh[0].astype(dtype), jnp.zeros(())
    return _Saved(x_2TBD, hold, ih[0], weight_2HG, nh_bias, gates_2TBG, nothing)


def _activations(gates, hidden, nh_bias) -> _Activations:
    """Of a step, or of all."""
    ri, zi, ni = jnp.split(gates, 3, axis=-1)
    rh, zh, nh = jnp.split(hidden, 3, axis=-1)
    nh = nh + nh_bias.reshape(len(nh), *[1] * (nh.ndim - 2), -1)
    r, z = jax.nn.sigmoid(ri + rh), jax.nn.sigmoid(zi + zh)
    return _Activations(r, z, jnp.tanh(ni + r * nh), nh)


class _Slopes(NamedTuple):
    """The gradients of a step's gates, as multiples of its state's; 2 T B H each."""

    r: Array
    z: Array
    n: Array
    nh: Array  # The recurrent half of n.


def _backward(dtype, saved, d_states):
    before = [_before(s) for s in saved]
    kept, slopes = zip(*map(_slopes, saved, before), strict=True)
    d_states_KTBH = _beside([_apart_in_steps(d) for d in d_states])
    kept_KTBH = _beside(kept)
    # Three arrays: on TPUs joining them, and repeating what they multiply, costs more.
    hidden = [_beside(of) for of in zip(*map(_of_hidden, slopes), strict=True)]
    weight_KHG = jnp.concatenate([s.weight for s in saved])
    (K, T, B, H), wide = d_states_KTBH.shape, d_states_KTBH.dtype

    def step(carry, t):
        kept_KBH, from_gates_KBH = carry
        d_h = kept_KBH + from_gates_KBH + _at(d_states_KTBH, t)
        d_hidden = [d_h * _at(slope_KTBH, t) for slope_KTBH in hidden]
        d_hidden_KBG = jnp.concatenate(d_hidden, axis=-1)
        from_gates_KBH = _dot("k...g,khg->k...h", d_hidden_KBG, weight_KHG, wide)
        return (d_h * _at(kept_KTBH, t), from_gates_KBH), d_h

    none = jnp.zeros((K, B, H), wide)
    _, d_h_TKBH = lax.scan(
        step, (none, none), jnp.arange(T), reverse=True, unroll=min(_UNROLL, T)
    )
    apart = _apart(d_h_TKBH.swapaxes(0, 1), [s.gates.shape[1] for s in saved])
    after = functools.partial(_after_the_loop, dtype)
    return tuple(map(after, saved, before, slopes, apart))


def _before(s: _Saved) -> jax.Array:
    """The states that steps begin with, 2 T B H."""
    start = jnp.zeros_like(s.states[:, :1])
    return jnp.concatenate([start, s.states[:, :-1]], axis=1)


def _slopes(s: _Saved, before_2TBH: Array) -> tuple[Array, _Slopes]:
    """What a state keeps of the one before, and `_Slopes`."""
    hidden_2TBG = _dot("k...h,khg->k...g", before_2TBH, s.weight, before_2TBH.dtype)
    a = _activations(s.gates, hidden_2TBG, s.nh_bias)
    n = (1 - a.z) * (1 - a.n * a.n)
    z = (before_2TBH - a.n) * a.z * (1 - a.z)
    r = n * a.nh * a.r * (1 - a.r)
    # The recurrent half of the gate n is multiplied by r.
    return a.z, _Slopes(r, z, n, n * a.r)


def _of_hidden(s: _Slopes) -> tuple[Array, Array, Array]:
    """Those of the product of the state, in the order of its columns."""
    return s.r, s.z, s.nh


def _after_the_loop(dtype, s: _Saved, before_2TBH, slopes: _Slopes, d_h_2TBH):
    """The gradients of a stream's arguments, of those of its states."""
    wide = d_h_2TBH.dtype
    d_gates, d_hidden = (
        jnp.concatenate([d_h_2TBH * slope for slope in of], axis=-1)
        for of in ((slopes.r, slopes.z, slopes.n), _of_hidden(slopes))
    )
    weigh = lambda a, d: _dot("ktba,ktbg->kag", a, d.astype(dtype), wide)
    d_x = _dot("k...g,kdg->k...d", d_gates, s.kernel.astype(dtype), wide)
    return (
        (d_x[0] + d_x[1, ::-1]).swapaxes(0, 1),
        jnp.zeros_like(s.hold),
        (weigh(s.x, d_gates), d_gates.sum(axis=(1, 2))),
        (weigh(before_2TBH, d_hidden), d_hidden.sum(axis=(1, 2))),
    )


bidirectional.defvjp(_forward, _backward)


def _dot(subscripts: str, a: Array, b: Array, wide) -> jax.Array:
    """Their product in the narrower precision of the two, summed in the wide one.

    T and B stay apart: as one axis they could not be split over devices by B, which
    would gather all frames.
    """
    narrow = min(a.dtype, b.dtype, key=lambda t: t.itemsize)
    a, b = a.astype(narrow), b.astype(narrow)
    return jnp.einsum(subscripts, a, b, preferred_element_type=wide)


def _beside(streams: Sequence[Float[Array, "2 _ B D"]]) -> Float[Array, "K T B D"]:
    """Directions of all streams, whose ends are filled with zeros.

    Nothing comes of these steps: what they leave is cut off, and their gradient is 0.
    """
    longest = max(x.shape[1] for x in streams)
    fill = lambda x: ((0, 0), (0, longest - x.shape[1]), (0, 0), (0, 0))
    return jnp.concatenate([jnp.pad(x, fill(x)) for x in streams])


def _apart(x: Float[Array, "K T B D"], steps: Sequence[int]) -> list[Array]:
    """The directions of each stream, of so many steps."""
    pairs = jnp.split(x, len(steps))
    return [pair[:, :T] for pair, T in zip(pairs, steps, strict=True)]


def _at(x: Float[Array, "K T B D"], t) -> jax.Array:
    """All directions' rows of a step."""
    return lax.dynamic_index_in_dim(x, t, axis=1, keepdims=False)


def _in_steps(x: Float[Array, "B T D"]) -> Float[Array, "2 T B D"]:
    """What both directions read, in the order of steps: the backward one reversed."""
    x_TBD = x.swapaxes(0, 1)
    return jnp.stack([x_TBD, x_TBD[::-1]])


def _apart_in_steps(x: Float[Array, "B T D2"]) -> Float[Array, "2 T B D"]:
    """Likewise, of columns that each direction has for itself."""
    ahead_TBD, back_TBD = jnp.split(x.swapaxes(0, 1), 2, axis=-1)
    return jnp.stack([ahead_TBD, back_TBD[::-1]])


def _in_time(x: Float[Array, "2 T B H"]) -> Float[Array, "B T H2"]:
    """Back in the order of time, side by side."""
    return jnp.concatenate([x[0], x[1, ::-1]], axis=-1).swapaxes(0, 1)
