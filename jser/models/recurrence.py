"""A bidirectional GRU, with a hand-written scan and backward pass.

Autodiff of a scan saves every intermediate of every step and adds up the weight
gradient one small product at a time, and `nn.scan` can only lift a step that autodiff
goes through. So the scan is `lax.scan` over plain arrays under a custom gradient: the
input gates of all steps and both directions are one product before it; both directions
step together, in one batched product; the forward scan saves the activations that the
backward scan needs, which carries only the state's gradient; and the gradients of
weights and inputs are products over all steps after it. Each step writes where its
frame lies, so that nothing is transposed, reversed or joined before or after. The plain
form, by `nn.scan`, is in tests/plain.py.

There is no kernel of our own for GPUs: at H = 512 the recurrent weights (1.5 MB in
bfloat16 per direction) do not fit one multiprocessor, so that a kernel would stream
them from the cache at every step as XLA's loop does.
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import layers
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
        names = ("forward", "backward")
        params = [_Direction(self.features, name=n)(x.shape[-1]) for n in names]
        join = lambda key, i: jnp.stack([p[key][i] for p in params])
        # On padding the update gates are open and keep the state exactly, so that the
        # backward direction reaches the last real frame with state 0.
        hold_BT = jnp.where(mask, 0.0, _KEEP).astype(x.dtype)
        ih, hh = ((join(key, 0), join(key, 1)) for key in ("ih", "hh"))
        return bidirectional(self.dtype, x, hold_BT, ih, hh)


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
    x: Float[Array, "B T D"],
    hold: Float[Array, "B T"],
    ih: tuple[Float[Array, "2 D G"], Float[Array, "2 G"]],
    hh: tuple[Float[Array, "2 H G"], Float[Array, "2 G"]],
) -> Float[Array, "B T H2"]:
    """The states of both directions after every frame, side by side.

    Args:
      dtype: Precision of the products; sums and states are float32 (wider, if `x` is).
      x: Frames.
      hold: Added to the update gates; it has no gradient.
      ih: Kernels and biases of the input; forward direction, backward direction.
      hh: Those of the state.

    Returns:
      States in the order of time; the backward direction's first state is its last.
    """
    return _forward(dtype, x, hold, ih, hh)[0]


def _forward(dtype, x, hold, ih, hh):
    (B, T, _), H = x.shape, hh[0].shape[1]
    weight_2HG = hh[0].astype(dtype)
    (ri_bias, zi_bias, ni_bias), (rh_bias, zh_bias, nh_bias) = (
        jnp.split(bias[:, None], 3, axis=-1) for _, bias in (ih, hh)
    )
    r_bias, z_bias = ri_bias + rh_bias, zi_bias + zh_bias
    gates_BTG2 = _dot("btd,kdg->btkg", x, ih[0].astype(dtype)).reshape(B, T, -1)
    hold_BT2 = jnp.stack([hold, hold], axis=-1)

    def step(h_2BH, inputs):
        gates_2BG, hold_2B1 = inputs
        ri, zi, ni = jnp.split(gates_2BG, 3, axis=-1)
        hidden_2BG = _dot("kbh,khg->kbg", h_2BH, weight_2HG)
        rh, zh, nh = jnp.split(hidden_2BG, 3, axis=-1)
        r = jax.nn.sigmoid(ri + rh + r_bias)
        z = jax.nn.sigmoid(zi + zh + z_bias + hold_2B1)
        nh = nh + nh_bias
        n = jnp.tanh(ni + ni_bias + r * nh)
        h_2BH = n + z * (h_2BH - n)
        return h_2BH, (h_2BH,), (r, z, n, nh)

    read = lambda t: (_both(gates_BTG2, t), _both(hold_BT2, t))
    h0_2BH = jnp.zeros((2, B, H), x.dtype)
    (states_BTH2,), saved = _scan(read, step, h0_2BH, (2 * H,), range(T))
    return states_BTH2, (x, hold, ih[0], weight_2HG, states_BTH2, saved)


def _backward(dtype, residuals, d_states):
    x, hold, kernel_2DG, weight_2HG, states_BTH2, saved = residuals
    (B, T, _), H = x.shape, weight_2HG.shape[1]
    # The state each step began with.
    start = jnp.zeros((B, 1, H), x.dtype)
    ahead = jnp.concatenate([start, states_BTH2[:, :-1, :H]], axis=1)
    back = jnp.concatenate([states_BTH2[:, 1:, H:], start], axis=1)
    before_BTH2 = jnp.concatenate([ahead, back], axis=-1)

    def step(d_h, inputs):
        d_state, h, (r, z, n, nh) = inputs
        d_h = d_h + d_state
        d_n = d_h * (1 - z) * (1 - n * n)
        d_z = d_h * (h - n) * z * (1 - z)
        d_r = d_n * nh * r * (1 - r)
        d_rz = jnp.concatenate([d_r, d_z], axis=-1)
        d_nh = d_n * r  # The recurrent half of the gate n is multiplied by r.
        d_hidden_2BG = jnp.concatenate([d_rz, d_nh], axis=-1)
        d_h = d_h * z + _dot("kbg,khg->kbh", d_hidden_2BG, weight_2HG)
        return d_h, (d_rz, d_n, d_nh), ()

    def read(t):
        return _both(d_states, t), _both(before_BTH2, t), [s[t] for s in saved]

    d_h0, widths = jnp.zeros((2, B, H), x.dtype), (4 * H, 2 * H, 2 * H)
    made, _ = _scan(read, step, d_h0, widths, range(T)[::-1])
    d_rz, d_n, d_nh = (d.reshape(B, T, 2, -1) for d in made)
    weigh = lambda a, d: _dot("btkh,btkg->khg", a, d.astype(dtype))
    before_BT2H = before_BTH2.reshape(B, T, 2, H)
    bias = lambda d: d.sum((0, 1))
    d_x, d_kernel = 0.0, []
    kernel_2DG = kernel_2DG.astype(dtype)
    for d, kernel in zip((d_rz, d_n), jnp.split(kernel_2DG, [2 * H], -1), strict=True):
        d_x += _dot("btkg,kdg->btd", d, kernel)
        d_kernel.append(_dot("btd,btkg->kdg", x, d.astype(dtype)))
    join = lambda parts: jnp.concatenate(parts, axis=-1)
    d_ih = join(d_kernel), join([bias(d_rz), bias(d_n)])
    d_hh = (
        join([weigh(before_BT2H, d_rz), weigh(before_BT2H, d_nh)]),
        join([bias(d_rz), bias(d_nh)]),
    )
    return d_x, jnp.zeros_like(hold), d_ih, d_hh


bidirectional.defvjp(_forward, _backward)


def _dot(subscripts: str, a: Array, b: Array) -> jax.Array:
    """Their product in the precision of `b`, summed in that of `a`."""
    return jnp.einsum(subscripts, a.astype(b.dtype), b, preferred_element_type=a.dtype)


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


def _scan(read, step, carry, widths: tuple[int, ...], steps: range):
    """`lax.scan` of `step` over `read(t)` for t in `steps`.

    The next slices travel in the carry: XLA's CPU backend would otherwise fuse the
    slicing into the cell and lose its vector instructions.

    Returns:
      What `step` writes, [B, T, W] of each of `widths`, and what it saves, by t.
    """
    first, low, high = steps[0], min(steps), max(steps)
    shape = carry.shape[1], len(steps)
    written = tuple(jnp.zeros((*shape, W), carry.dtype) for W in widths)

    def body(state, t):
        carry, inputs, written = state
        carry, made, saved = step(carry, inputs)
        written = tuple(_write(x, t, m) for x, m in zip(written, made, strict=True))
        return (carry, read(jnp.clip(t + steps.step, low, high)), written), saved

    state = carry, read(first), written
    order = jnp.arange(len(steps))
    (_, _, written), saved = lax.scan(body, state, order, reverse=steps.step < 0)
    return written, saved
