"""The recurrence for accelerators: a step is launched in as few pieces as can be.

Few of them matter more than few bytes. So time is the first axis, and the backward
direction's frames are reversed once, before they are projected; a step reads one slice
of what was computed before the loop and adds one row to what is computed after it. The
forward loop leaves the states alone, from which the backward pass computes the
activations of all steps again in one product: faster than saving them. What the
gradient of a state is multiplied with is known before the backward loop, which leaves
those gradients alone.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from jser.shapes import Array

_UNROLL = 4  # Time steps in the body of a loop; 16 are no faster.


class _Activations(NamedTuple):
    """Gates of all steps, and the recurrent half of the gate n; [T, 2, B, H] each."""

    r: Array
    z: Array
    n: Array
    nh: Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def bidirectional(
    dtype: str,
    x: Float[Array, "B T D"],
    hold: Float[Array, "B T"],
    ih: tuple[Float[Array, "2 D G"], Float[Array, "2 G"]],
    hh: tuple[Float[Array, "2 H G"], Float[Array, "2 G"]],
) -> Float[Array, "B T H2"]:
    """`recurrence.bidirectional` by scans over time-major arrays."""
    return _forward(dtype, x, hold, ih, hh)[0]


def _forward(dtype, x, hold, ih, hh):
    (B, T, _), H = x.shape, hh[0].shape[1]
    weight_2HG = hh[0].astype(dtype)
    x_2TBD = _in_steps(x.astype(dtype))
    gates_2TBG = _dot("knd,kdg->kng", x_2TBD, ih[0], x.dtype)
    # All that is added to the gates r and z, and the input's half of n.
    rz_bias, nh_bias = jnp.split(hh[1][:, None], (2 * H,), axis=-1)
    bias_2G = ih[1] + jnp.pad(rz_bias[:, 0], ((0, 0), (0, H)))
    is_z = (jnp.arange(3 * H) // H == 1).astype(x.dtype)
    gates_2TBG += bias_2G[:, None, None] + _in_steps(hold[..., None]) * is_z

    def step(carry, t):
        h_2BH, narrow_2BH = carry
        hidden_2BG = _dot("knh,khg->kng", narrow_2BH, weight_2HG, x.dtype)
        a = _activations(_at(gates_2TBG, t), hidden_2BG, nh_bias)
        h_2BH = a.n + a.z * (h_2BH - a.n)
        # Narrow here, in the kernel that has it, and not in one of its own.
        return (h_2BH, h_2BH.astype(dtype)), h_2BH

    start = jnp.zeros((2, B, H), x.dtype), jnp.zeros((2, B, H), dtype)
    order = jnp.arange(T)
    _, states_T2BH = lax.scan(step, start, order, unroll=min(_UNROLL, T))
    states_2TBH = states_T2BH.swapaxes(0, 1)
    residuals = x_2TBD, hold, ih[0], weight_2HG, states_2TBH, gates_2TBG, nh_bias
    return _in_time(states_2TBH), residuals


def _activations(gates, hidden, nh_bias) -> _Activations:
    """Of a step, or of all."""
    ri, zi, ni = jnp.split(gates, 3, axis=-1)
    rh, zh, nh = jnp.split(hidden, 3, axis=-1)
    nh = nh + nh_bias.reshape(2, *[1] * (nh.ndim - 2), -1)
    r, z = jax.nn.sigmoid(ri + rh), jax.nn.sigmoid(zi + zh)
    return _Activations(r, z, jnp.tanh(ni + r * nh), nh)


def _backward(dtype, residuals, d_states):
    x_2TBD, hold, kernel_2DG, weight_2HG, states_2TBH, gates_2TBG, nh_bias = residuals
    (_, T, B, H), wide = states_2TBH.shape, states_2TBH.dtype
    start = jnp.zeros((2, 1, B, H), wide)
    before_2TBH = jnp.concatenate([start, states_2TBH[:, :-1]], axis=1)
    hidden_2TBG = _dot("knh,khg->kng", before_2TBH, weight_2HG, wide)
    a = _activations(gates_2TBG, hidden_2TBG, nh_bias)
    # The gradients of a step's gates, as multiples of its state's.
    to_n = (1 - a.z) * (1 - a.n * a.n)
    to_z = (before_2TBH - a.n) * a.z * (1 - a.z)
    to_r = to_n * a.nh * a.r * (1 - a.r)
    to_nh = to_n * a.r  # The recurrent half of the gate n is multiplied by r.
    to_hidden_2TBG = jnp.concatenate([to_r, to_z, to_nh], axis=-1)
    d_states_2TBH = _apart_in_steps(d_states)

    def step(carry, t):
        kept_2BH, from_gates_2BH = carry
        d_h = kept_2BH + from_gates_2BH + _at(d_states_2TBH, t)
        d_hidden_2BG = jnp.tile(d_h, 3) * _at(to_hidden_2TBG, t)
        from_gates_2BH = _dot("kng,khg->knh", d_hidden_2BG, weight_2HG, wide)
        return (d_h * _at(a.z, t), from_gates_2BH), d_h

    none = jnp.zeros((2, B, H), wide)
    _, d_h = lax.scan(
        step, (none, none), jnp.arange(T), reverse=True, unroll=min(_UNROLL, T)
    )
    d_h = d_h.swapaxes(0, 1)

    d_gates = jnp.concatenate([d_h * to_r, d_h * to_z, d_h * to_n], axis=-1)
    d_hidden = jnp.tile(d_h, 3) * to_hidden_2TBG
    rows = lambda y: y.reshape(2, T * B, -1).astype(dtype)
    weigh = lambda a, d: _dot("kna,kng->kag", rows(a), rows(d), wide)
    d_x = _dot("kng,kdg->knd", d_gates, kernel_2DG.astype(dtype), wide)
    return (
        (d_x[0] + d_x[1, ::-1]).swapaxes(0, 1),
        jnp.zeros_like(hold),
        (weigh(x_2TBD, d_gates), d_gates.sum(axis=(1, 2))),
        (weigh(before_2TBH, d_hidden), d_hidden.sum(axis=(1, 2))),
    )


bidirectional.defvjp(_forward, _backward)


def _dot(subscripts: str, a: Array, b: Array, wide) -> jax.Array:
    """Their product in the narrower precision of the two, summed in the wide one.

    Rows n of `a`, and of what comes out, may be those of several axes.
    """
    narrow = min(a.dtype, b.dtype, key=lambda t: t.itemsize)
    rows = a.reshape(len(a), -1, a.shape[-1]).astype(narrow)
    c = jnp.einsum(subscripts, rows, b.astype(narrow), preferred_element_type=wide)
    return c.reshape(*a.shape[:-1], -1) if a.ndim == 4 else c


def _at(x: Float[Array, "2 T B D"], t) -> jax.Array:
    """Both directions' rows of a step."""
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
