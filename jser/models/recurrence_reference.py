"""The bidirectional GRU in its plain form, by `nn.scan`: what `recurrence` must equal.

One step of one frame after another, as in the paper; JAX differentiates. Parameters
have the names, shapes and initialisers of `recurrence.BiGru`, so that either reads the
other's. Nothing trains with it: docs/model.md says why.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import layers
from jser.shapes import Array


class BiGru(nn.Module):
    """A GRU per direction, side by side, with PyTorch's gate order and two biases.

    Attributes:
      features: Width of one direction, H.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The states of both directions after every frame; on padding meaningless."""
        forward = Gru(self.features, name="forward")(x, mask)
        backward = Gru(self.features, reverse=True, name="backward")(x, mask)
        return jnp.concatenate([forward, backward], axis=-1)


class Gru(nn.Module):
    """One direction.

    Attributes:
      features: H.
      reverse: From the last frame to the first.
    """

    features: int
    reverse: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H"]:
        """The state after every frame, in the order of time."""
        # PyTorch draws the input weights, too, by the hidden size.
        gates_BTG = dense(3 * self.features, self.features, "ih")(x)
        scan = nn.scan(
            GruStep,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
        )
        h0_BH = jnp.zeros((x.shape[0], self.features), x.dtype)
        _, h_BTH = scan(self.features, name="step")(h0_BH, (gates_BTG, mask))
        return h_BTH


class GruStep(nn.Module):
    """One frame.

    Attributes:
      features: H.
    """

    features: int

    @nn.compact
    def __call__(
        self,
        h_BH: Float[Array, "B H"],
        inputs: tuple[Float[Array, "B G"], Bool[Array, " B"]],
    ) -> tuple[jax.Array, jax.Array]:
        """The next state twice, from the last one, the input's gates and the mask."""
        gates_BG, mask_B = inputs
        hidden_BG = dense(3 * self.features, self.features, "hh")(h_BH)
        ri, zi, ni = jnp.split(gates_BG, 3, axis=-1)
        rh, zh, nh = jnp.split(hidden_BG, 3, axis=-1)
        r, z = nn.sigmoid(ri + rh), nn.sigmoid(zi + zh)
        n = jnp.tanh(ni + r * nh)
        new_BH = (1 - z) * n + z * h_BH
        h_BH = jnp.where(mask_B[:, None], new_BH, h_BH)  # Padding keeps the state.
        return h_BH, h_BH


def dense(features: int, fan_in: int, name: str) -> nn.Dense:
    """A dense layer drawn from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), its bias too."""
    init = layers.uniform(fan_in**-0.5)
    return nn.Dense(features, kernel_init=init, bias_init=init, name=name)
