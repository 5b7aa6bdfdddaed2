"""The recurrent half of a bidirectional GRU, with a hand-written backward pass.

Autodiff of a scan saves every intermediate of every step and adds up the weight
gradient one small product at a time. Here the forward scan saves the states and the
recurrent pre-activations; the backward scan carries only the state's gradient; and each
weight gradient is one product over all steps. Arrays are time-major, so that a step
reads one contiguous slice. The plain form is in tests/plain.py.
"""

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
        kernel_DG = jnp.concatenate([p["ih"][0] for p in params], axis=-1)
        bias_G = jnp.concatenate([p["ih"][1] for p in params])
        gates_TBG = jnp.swapaxes(x, 0, 1) @ kernel_DG + bias_G
        gates = tuple(
            hold_on_padding(g, mask.T) for g in jnp.split(gates_TBG, 2, axis=-1)
        )
        states = bidirectional(
            gates,
            tuple(p["hh"][0] for p in params),
            tuple(p["hh"][1] for p in params),
        )
        return jnp.swapaxes(jnp.concatenate(states, axis=-1), 0, 1)


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


def hold_on_padding(
    gates_TBG: Float[Array, "T B G"], mask_TB: Array
) -> Float[Array, "T B G"]:
    """Opens the update gates on padding, where the state is then kept exactly.

    So a scan that begins in the padding reaches the last real frame with state 0.
    """
    H = gates_TBG.shape[-1] // 3
    hold_G = jnp.zeros(3 * H).at[H : 2 * H].set(_KEEP)
    return gates_TBG + jnp.where(mask_TB, 0.0, 1.0)[..., None] * hold_G


@jax.custom_vjp
def bidirectional(
    gates: tuple[Float[Array, "T B G"], Float[Array, "T B G"]],
    kernel: tuple[Float[Array, "H G"], Float[Array, "H G"]],
    bias: tuple[Float[Array, " G"], Float[Array, " G"]],
) -> tuple[Float[Array, "T B H"], Float[Array, "T B H"]]:
    """The states of both directions after every frame.

    Args:
      gates: The input halves of the gates r, z, n, bias included, per direction, both
        in the order of time.
      kernel: Recurrent weights; forward direction, backward direction.
      bias: Recurrent biases.

    Returns:
      States in the order of time; the backward direction's first state is its last.
    """
    return _forward(gates, kernel, bias)[0]


def _forward(gates, kernel, bias):
    T, B, G = gates[0].shape
    h0 = (jnp.zeros((B, G // 3), gates[0].dtype),) * 2

    def step(h, gates_t):
        hidden = [h[d] @ kernel[d] + bias[d] for d in (0, 1)]
        new = []
        for d in (0, 1):
            _, z, n = _activations(gates_t[d], hidden[d])
            new.append(n + z * (h[d] - n))
        return tuple(new), (tuple(new), tuple(hidden))

    read = lambda t: tuple(_at(gates[d], t, d) for d in (0, 1))
    (states, hidden) = _scan(read, step, h0, T)
    states = (states[0], states[1][::-1])
    return states, (gates, kernel, states, hidden)


def _backward(saved, d_states):
    gates, kernel, states, hidden = saved
    T, B, H = states[0].shape
    start = jnp.zeros((1, B, H), states[0].dtype)
    # The state each step began with, in the order of the scan.
    before = (
        jnp.concatenate([start, states[0][:-1]]),
        jnp.concatenate([start, states[1][:0:-1]]),
    )

    def read(t):
        t = T - 1 - t  # The backward pass undoes the last step of the scan first.
        return tuple(
            (_at(gates[d], t, d), hidden[d][t], before[d][t], _at(d_states[d], t, d))
            for d in (0, 1)
        )

    def step(d_h, inputs):
        d_next, d_input, d_hidden = [], [], []
        for d, (gates_t, hidden_t, h, d_state) in enumerate(inputs):
            r, z, n = _activations(gates_t, hidden_t)
            total = d_h[d] + d_state
            d_n = total * (1 - z) * (1 - n * n)
            d_z = total * (h - n) * z * (1 - z)
            d_r = d_n * hidden_t[:, 2 * H :] * r * (1 - r)
            d_q = jnp.concatenate([d_r, d_z, d_n * r], axis=-1)
            d_next.append(total * z + d_q @ kernel[d].T)
            d_hidden.append(d_q)
            d_input.append(d_n)
        return tuple(d_next), (tuple(d_hidden), tuple(d_input))

    d_hidden, d_n = _scan(read, step, (jnp.zeros((B, H), start.dtype),) * 2, T)
    d_gates, d_kernel, d_bias = [], [], []
    for d in (0, 1):
        q, n = d_hidden[d][::-1], d_n[d][::-1]  # Back in the order of the scan.
        d_kernel.append(jnp.einsum("tbh,tbg->hg", before[d], q))
        d_bias.append(q.sum((0, 1)))
        d_input = jnp.concatenate([q[..., : 2 * H], n], axis=-1)
        d_gates.append(d_input[::-1] if d else d_input)
    return tuple(d_gates), tuple(d_kernel), tuple(d_bias)


bidirectional.defvjp(_forward, _backward)


def _activations(gates_BG, hidden_BG):
    ri, zi, ni = jnp.split(gates_BG, 3, axis=-1)
    rh, zh, nh = jnp.split(hidden_BG, 3, axis=-1)
    r, z = jax.nn.sigmoid(ri + rh), jax.nn.sigmoid(zi + zh)
    return r, z, jnp.tanh(ni + r * nh)


def _at(x_TBX: Array, t, direction: int):
    """The slice that `direction` reads at step t of the scan."""
    T = x_TBX.shape[0]
    return lax.dynamic_index_in_dim(x_TBX, T - 1 - t if direction else t, 0, False)


def _scan(read, step, carry, T: int):
    """`lax.scan` of `step` over `read(0)` to `read(T - 1)`.

    The next slices travel in the carry: XLA's CPU backend would otherwise fuse the
    slicing into the cell and lose its vector instructions.
    """

    def body(state, t):
        carry, inputs = state
        carry, out = step(carry, inputs)
        return (carry, read(jnp.minimum(t + 1, T - 1))), out

    _, out = lax.scan(body, (carry, read(0)), jnp.arange(T))
    return out
