"""The recurrence for CPUs: steps read and write frames where they lie.

The input gates of all steps and both directions are one product before the scan; both
directions step together, in one batched product; the forward scan saves the activations
that the backward scan needs, which carries only the state's gradient; and the gradients
of weights and inputs are products over all steps after it. A step leaves its
activations where it has read its gates, and later their gradients where it has read
them: there is one large array, and nothing is transposed, reversed or joined before or
after.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from jser.shapes import Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def bidirectional(
    dtype: str,
    x: Float[Array, "B T D"],
    hold: Float[Array, "B T"],
    ih: tuple[Float[Array, "2 D G"], Float[Array, "2 G"]],
    hh: tuple[Float[Array, "2 H G"], Float[Array, "2 G"]],
) -> Float[Array, "B T H2"]:
    """`recurrence.bidirectional` by a scan over a batch-major array."""
    return _forward(dtype, x, hold, ih, hh)[0]


def _forward(dtype, x, hold, ih, hh):
    (B, T, _), H = x.shape, hh[0].shape[1]
    weight_2HG = hh[0].astype(dtype)
    (ri_bias, zi_bias, ni_bias), (rh_bias, zh_bias, nh_bias) = (
        jnp.split(bias[:, None], 3, axis=-1) for _, bias in (ih, hh)
    )
    r_bias, z_bias = ri_bias + rh_bias, zi_bias + zh_bias
    hold_BT2 = jnp.stack([hold, hold], axis=-1)

    def step(h_2BH, inputs):
        (gates_2BG, *_), hold_2B1 = inputs
        ri, zi, ni = jnp.split(gates_2BG, 3, axis=-1)
        hidden_2BG = _dot("kbh,khg->kbg", h_2BH, weight_2HG)
        rh, zh, nh = jnp.split(hidden_2BG, 3, axis=-1)
        r = jax.nn.sigmoid(ri + rh + r_bias)
        z = jax.nn.sigmoid(zi + zh + z_bias + hold_2B1)
        nh = nh + nh_bias
        n = jnp.tanh(ni + ni_bias + r * nh)
        h_2BH = n + z * (h_2BH - n)
        return h_2BH, (jnp.concatenate([r, z, n], axis=-1), nh, h_2BH)

    gates_BTG2 = _dot("btd,dg->btg", x, _side_by_side(ih[0]).astype(dtype))
    empty_BTH2 = jnp.zeros((B, T, 2 * H), x.dtype)
    r_z_n, nh, states_BTH2 = _scan(
        step,
        jnp.zeros((2, B, H), x.dtype),
        (gates_BTG2, empty_BTH2, empty_BTH2),
        lambda t: _both(hold_BT2, t),
        range(T),
    )
    saved = r_z_n, nh
    return states_BTH2, (x, hold, ih[0], weight_2HG, states_BTH2, saved)


def _backward(dtype, residuals, d_states):
    x, hold, kernel_2DG, weight_2HG, states_BTH2, saved = residuals
    (B, T, D), H = x.shape, weight_2HG.shape[1]
    # The state each step began with.
    start = jnp.zeros((B, 1, H), x.dtype)
    ahead = jnp.concatenate([start, states_BTH2[:, :-1, :H]], axis=1)
    back = jnp.concatenate([states_BTH2[:, 1:, H:], start], axis=1)
    before_BTH2 = jnp.concatenate([ahead, back], axis=-1)

    def step(d_h, inputs):
        (r_z_n, nh), (d_state, h) = inputs
        r, z, n = jnp.split(r_z_n, 3, axis=-1)
        d_h = d_h + d_state
        d_n = d_h * (1 - z) * (1 - n * n)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * nh * r * (1 - r)
        d_nh = d_n * r  # The recurrent half of the gate n is multiplied by r.
        d_hidden_2BG = jnp.concatenate([d_r, d_z, d_nh], axis=-1)
        d_h = d_h * z + _dot("kbg,khg->kbh", d_hidden_2BG, weight_2HG)
        return d_h, (jnp.concatenate([d_r, d_z, d_n], axis=-1), d_nh)

    d_gates, d_nh = _scan(
        step,
        jnp.zeros((2, B, H), x.dtype),
        saved,
        lambda t: (_both(d_states, t), _both(before_BTH2, t)),
        range(T)[::-1],
    )
    # Matrices from here on, of all frames, so that XLA transposes the narrow ones.
    x_ND, before_NH2, d_gates, d_nh = (
        y.reshape(B * T, -1) for y in (x, before_BTH2, d_gates, d_nh)
    )
    weigh = lambda a, d: _dot("na,ng->ag", a, d.astype(dtype))
    d_rz = [d[:, : 2 * H] for d in _halves(d_gates)]
    d_hh = [
        jnp.stack(list(map(weigh, _halves(before_NH2), halves)))
        for halves in (d_rz, _halves(d_nh))
    ]
    d_ih_bias, d_nh_bias = _apart(d_gates.sum(axis=0)), _apart(d_nh.sum(axis=0))
    d_hh_bias = jnp.concatenate([d_ih_bias[:, : 2 * H], d_nh_bias], axis=-1)
    kernel_GD = _side_by_side(kernel_2DG).T.astype(dtype)
    return (
        _dot("ng,gd->nd", d_gates, kernel_GD).reshape(B, T, D),
        jnp.zeros_like(hold),
        (_apart(weigh(x_ND, d_gates)), d_ih_bias),
        (jnp.concatenate(d_hh, axis=-1), d_hh_bias),
    )


bidirectional.defvjp(_forward, _backward)


def _dot(subscripts: str, a: Array, b: Array) -> jax.Array:
    """Their product in the precision of `b`, summed in that of `a`."""
    return jnp.einsum(subscripts, a.astype(b.dtype), b, preferred_element_type=a.dtype)


def _halves(x: Array) -> list[jax.Array]:
    """The forward and the backward direction's columns."""
    return jnp.split(x, 2, axis=-1)


def _side_by_side(x: Array) -> jax.Array:
    """[2, ..., W] to [..., 2 W]."""
    return jnp.concatenate([x[0], x[1]], axis=-1)


def _apart(x: Array) -> jax.Array:
    """[..., 2 W] to [2, ..., W]."""
    return jnp.stack(_halves(x))


def _both(x: Array, t) -> jax.Array:
    """What step t reads of [B, T, 2 W]: from the end, in the backward direction."""
    B, T, W = x.shape
    ahead = lax.dynamic_slice(x, (0, t, 0), (B, 1, W // 2))
    back = lax.dynamic_slice(x, (0, T - 1 - t, W // 2), (B, 1, W // 2))
    return jnp.stack([ahead[:, 0], back[:, 0]])


def _write(x: Array, t, made: Array) -> jax.Array:
    """`x` with [2, B, W] where `_both` reads it."""
    T, W = x.shape[1], made.shape[-1]
    x = lax.dynamic_update_slice(x, made[0, :, None], (0, t, 0))
    return lax.dynamic_update_slice(x, made[1, :, None], (0, T - 1 - t, W))


def _scan(step, carry, buffers, read, steps: range) -> tuple[jax.Array, ...]:
    """`lax.scan` of `step`, which leaves in the buffers something for what it reads.

    The next slices travel in the carry: XLA's CPU backend would otherwise fuse the
    slicing into the cell and lose its vector instructions.

    Args:
      step: From the carry and from the slices of step t to the next carry and to what
        is written into the first, second, ... buffer where step t has read.
      carry: The first.
      buffers: [B, T, 2 W] each.
      read: What else step t reads.
      steps: The order of t.
    """
    first, low, high = steps[0], min(steps), max(steps)
    slices = lambda buffers, t: ([_both(x, t) for x in buffers], read(t))

    def body(state, t):
        carry, inputs, buffers = state
        carry, made = step(carry, inputs)
        buffers = tuple(_write(x, t, m) for x, m in zip(buffers, made, strict=True))
        following = jnp.clip(t + steps.step, low, high)
        return (carry, slices(buffers, following), buffers), None

    state = carry, slices(buffers, first), buffers
    order = jnp.arange(len(steps))
    (_, _, buffers), _ = lax.scan(body, state, order, reverse=steps.step < 0)
    return buffers
