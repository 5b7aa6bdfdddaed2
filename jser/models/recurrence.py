"""A bidirectional GRU, with a hand-written scan and backward pass.

Autodiff of a scan saves every intermediate of every step and adds up the weight
gradient one small product at a time, and `nn.scan` can only lift a step that autodiff
goes through. So the scan is `lax.scan` over plain arrays under a custom gradient: the
input gates of all steps and both directions are one product before it; both directions
step together, in one batched product; the forward scan saves the activations that the
backward scan needs, which carries only the state's gradient; and the weight gradient is
one product over all steps after it. Arrays are time-major, so that a step reads one
contiguous slice. The plain form, by `nn.scan`, is in tests/plain.py.

There is no kernel of our own for GPUs: at H = 512 the recurrent weights (1.5 MB in
bfloat16 per direction) do not fit one multiprocessor, so that a kernel would stream
them from the cache at every step as XLA's loop does.
"""

import functools
from typing import cast

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import layers
from jser.models.layers import product
from jser.shapes import Array

_KEEP = 1e4  # Added to an update gate, it makes the gate 1 exactly.


class BiGru(nn.Module):
    """A GRU per direction, side by side, with PyTorch's gate order and two biases.

    Both biases are kept although they add up: under Adam two of them move twice as fast
    as one.

    Attributes:
      features: Width of one direction, H.
      dtype: Precision of the products; the state is float32.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The states of both directions after every frame; on padding meaningless."""
        H = self.features
        names = ("forward", "backward")
        params = [_Direction(H, name=n)(x.shape[-1]) for n in names]
        kernel_DG2 = jnp.concatenate([p["ih"][0] for p in params], axis=-1)
        bias_G2 = jnp.concatenate([p["ih"][1] for p in params])
        x_TBD = jnp.swapaxes(x, 0, 1)
        gates = product("tbd,dg->tbg", x_TBD, kernel_DG2, self.dtype) + bias_G2
        # On padding the update gates are open and keep the state exactly, so that the
        # backward direction reaches the last real frame with state 0.
        hold_G2 = jnp.zeros((2, 3, H), gates.dtype).at[:, 1].set(_KEEP).ravel()
        gates += jnp.where(mask.T, 0.0, 1.0)[..., None] * hold_G2
        kernel_2HG = jnp.stack([p["hh"][0] for p in params])
        bias_2G = jnp.stack([p["hh"][1] for p in params])
        states = bidirectional(self.dtype, gates, kernel_2HG, bias_2G)
        return jnp.swapaxes(cast(jax.Array, states), 0, 1)


class _Direction(nn.Module):
    """The parameters of one direction; both kernels are drawn by the hidden size."""

    features: int

    @nn.compact
    def __call__(self, width: int) -> dict[str, tuple[Array, Array]]:
        H, init = self.features, layers.uniform(self.features**-0.5)
        return {
            "ih": layers.LinearParams(3 * H, init, init, name="ih")(width),
            "hh": _Step(H, name="step")(),
        }


class _Step(nn.Module):
    """The recurrent ones, under the name that a scanned step would give them."""

    features: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        H, init = self.features, layers.uniform(self.features**-0.5)
        return layers.LinearParams(3 * H, init, init, name="hh")(H)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def bidirectional(
    dtype: str,
    gates: Float[Array, "T B G2"],
    kernel: Float[Array, "2 H G"],
    bias: Float[Array, "2 G"],
) -> Float[Array, "T B H2"]:
    """The states of both directions after every frame, side by side.

    Args:
      dtype: Precision of the products; sums and states are float32 (wider, if it is).
      gates: The input halves of the gates r, z, n, bias included; both directions side
        by side and in the order of time.
      kernel: Recurrent weights; forward direction, backward direction.
      bias: Recurrent biases.

    Returns:
      States in the order of time; the backward direction's first state is its last.
    """
    return _forward(dtype, gates, kernel, bias)[0]


def _forward(dtype, gates, kernel, bias):
    T, B, H = *gates.shape[:2], kernel.shape[1]
    weight_2HG, bias_21G = kernel.astype(dtype), bias[:, None]

    def step(h_2BH, input_2BG):
        hidden_2BG = _dot("dbh,dhg->dbg", h_2BH, weight_2HG) + bias_21G
        ri, zi, ni = jnp.split(input_2BG, 3, axis=-1)
        rh, zh, nh = jnp.split(hidden_2BG, 3, axis=-1)
        r, z = jax.nn.sigmoid(ri + rh), jax.nn.sigmoid(zi + zh)
        n = jnp.tanh(ni + r * nh)
        h_2BH = n + z * (h_2BH - n)
        return h_2BH, (h_2BH, r, z, n, nh)

    h0_2BH = jnp.zeros((2, B, H), gates.dtype)
    read = lambda t: _both(gates, t)
    h_T2BH, *saved = _scan(read, step, h0_2BH, range(T))
    return _in_time(h_T2BH), (weight_2HG, h_T2BH, saved)


def _backward(dtype, residuals, d_states):
    weight_2HG, h_T2BH, saved = residuals
    T = len(h_T2BH)
    # The state each step began with.
    before_T2BH = jnp.concatenate([jnp.zeros_like(h_T2BH[:1]), h_T2BH[:-1]])

    def step(d_h, inputs):
        d_state, h, r, z, n, nh = inputs
        d_h = d_h + d_state
        d_n = d_h * (1 - z) * (1 - n * n)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * nh * r * (1 - r)
        d_rz = jnp.concatenate([d_r, d_z], axis=-1)
        d_hidden_2BG = jnp.concatenate([d_rz, d_n * r], axis=-1)
        d_h = d_h * z + _dot("dbg,dhg->dbh", d_hidden_2BG, weight_2HG)
        return d_h, (d_rz, d_n)

    def read(t):
        return _both(d_states, t), *(x[t] for x in (before_T2BH, *saved))

    d_h0 = jnp.zeros_like(h_T2BH[0])
    d_rz, d_n = _scan(read, step, d_h0, range(T)[::-1])
    # The recurrent half of the gate n is multiplied by r, its input half is not.
    d_hidden = (d_rz, d_n * saved[0])
    weigh = lambda d: _dot("tdbh,tdbg->dhg", before_T2BH, d.astype(dtype))
    d_kernel = jnp.concatenate([weigh(d) for d in d_hidden], axis=-1)
    d_bias = jnp.concatenate([d.sum((0, 2)) for d in d_hidden], axis=-1)
    return _in_time(jnp.concatenate([d_rz, d_n], axis=-1)), d_kernel, d_bias


bidirectional.defvjp(_forward, _backward)


def _dot(subscripts: str, a: Array, b: Array) -> jax.Array:
    """Their product in the precision of `b`, summed in that of `a`."""
    return jnp.einsum(subscripts, a.astype(b.dtype), b, preferred_element_type=a.dtype)


def _both(x: Array, t) -> jax.Array:
    """What step t reads of [T, B, 2 W]: from the end, in the backward direction."""
    T, B, W = x.shape
    ahead = lax.dynamic_slice(x, (t, 0, 0), (1, B, W // 2))
    back = lax.dynamic_slice(x, (T - 1 - t, 0, W // 2), (1, B, W // 2))
    return jnp.concatenate([ahead, back])


def _in_time(x: Array) -> jax.Array:
    """[T, 2, B, W] in the order of steps to [T, B, 2 W] in the order of time."""
    return jnp.concatenate([x[:, 0], x[::-1, 1]], axis=-1)


def _scan(read, step, carry, steps: range):
    """`lax.scan` of `step` over `read(t)` for t in `steps`; results lie by t.

    The next slices travel in the carry: XLA's CPU backend would otherwise fuse the
    slicing into the cell and lose its vector instructions.
    """
    first, low, high = steps[0], min(steps), max(steps)

    def body(state, t):
        carry, inputs = state
        carry, out = step(carry, inputs)
        return (carry, read(jnp.clip(t + steps.step, low, high))), out

    order = jnp.arange(len(steps))
    _, out = lax.scan(body, (carry, read(first)), order, reverse=steps.step < 0)
    return out
