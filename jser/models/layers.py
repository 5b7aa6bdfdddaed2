"""Layers of the fusion classifier, equal to PyTorch's with copied weights."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser import draws
from jser.models import recurrence
from jser.shapes import Array

LAYER_NORM_EPSILON = 1e-5  # PyTorch's; Flax's own is 1e-6.


def uniform(bound: float) -> nn.initializers.Initializer:
    """U(-bound, bound)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def linear(features: int, fan_in: int, name: str) -> nn.Dense:
    """A Dense with PyTorch's initialiser, U(-1/sqrt(fan_in), ...), for the bias too."""
    init = uniform(fan_in**-0.5)
    return nn.Dense(features, kernel_init=init, bias_init=init, name=name)


class _GruStep(nn.Module):
    """One step of `Gru`; the input half of the gates is already computed."""

    features: int

    @nn.compact
    def __call__(self, h_BH, inputs):
        gates_BG, mask_B = inputs
        hidden_BG = linear(3 * self.features, self.features, "hh")(h_BH)
        ri, zi, ni = jnp.split(gates_BG, 3, axis=-1)
        rh, zh, nh = jnp.split(hidden_BG, 3, axis=-1)
        r, z = nn.sigmoid(ri + rh), nn.sigmoid(zi + zh)
        n = jnp.tanh(ni + r * nh)
        new_BH = (1 - z) * n + z * h_BH
        h_BH = jnp.where(mask_B[:, None], new_BH, h_BH)  # Padding keeps the state.
        return h_BH, h_BH


class Gru(nn.Module):
    """A GRU over time, with PyTorch's gate order (r, z, n) and its two bias vectors.

    The input projection is one matmul over all frames; only the recurrent one is inside
    the scan. Both biases are kept although they add up: under Adam two of them move
    twice as fast as one.

    Attributes:
      features: Width of the hidden state, H.
      reverse: Whether frames are read from the last real one to the first. The output
        keeps the order of the input.
    """

    features: int
    reverse: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H"]:
        """The state after every frame; on padding it means nothing."""
        # PyTorch draws the input weights, too, by the hidden size.
        gates_BTG = linear(3 * self.features, self.features, "ih")(x)
        scan = nn.scan(
            _GruStep,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
        )
        h0_BH = jnp.zeros((x.shape[0], self.features), x.dtype)
        _, h_BTH = scan(self.features, name="step")(h0_BH, (gates_BTG, mask))
        return h_BTH


class BiGru(nn.Module):
    """Two `Gru`s, one per direction, side by side on the last axis.

    Parameters and results are those of a `Gru` named "forward" and one named
    "backward"; the input gates of both are one matmul and both run in one scan, whose
    gradient is written by hand (`recurrence`).
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The states of both directions after every frame; on padding meaningless."""
        names = ("forward", "backward")
        params = [_GruParams(self.features, name=n)(x.shape[-1]) for n in names]
        kernel_DG = jnp.concatenate([p["ih"][0] for p in params], axis=-1)
        bias_G = jnp.concatenate([p["ih"][1] for p in params])
        gates_TBG = jnp.swapaxes(x, 0, 1) @ kernel_DG + bias_G
        gates = tuple(
            recurrence.hold_on_padding(g, mask.T)
            for g in jnp.split(gates_TBG, 2, axis=-1)
        )
        states = recurrence.bidirectional(
            gates,
            tuple(p["hh"][0] for p in params),
            tuple(p["hh"][1] for p in params),
        )
        return jnp.swapaxes(jnp.concatenate(states, axis=-1), 0, 1)


class _GruParams(nn.Module):
    """The parameters of a `Gru` by its own names, for code that computes elsewhere."""

    features: int

    @nn.compact
    def __call__(self, width: int) -> dict[str, tuple[Array, Array]]:
        return {
            "ih": _KernelAndBias(3 * self.features, self.features, name="ih")(width),
            "hh": _GruStepParams(self.features, name="step")(),
        }


class _GruStepParams(nn.Module):
    features: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        H = self.features
        return _KernelAndBias(3 * H, H, name="hh")(H)


class _KernelAndBias(nn.Module):
    features: int
    fan_in: int

    @nn.compact
    def __call__(self, width: int) -> tuple[Array, Array]:
        init = uniform(self.fan_in**-0.5)
        kernel = self.param("kernel", init, (width, self.features))
        return kernel, self.param("bias", init, (self.features,))


class CrossAttention(nn.Module):
    """Multi-head attention of one stream to another, as `torch.nn.MultiheadAttention`.

    Dropout acts on the attention probabilities. Padded keys get none.

    Attributes:
      heads: Number of heads; it divides the width.
      dropout: Rate.
    """

    heads: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "B T D"],
        other: Float[Array, "B S D"],
        other_mask: Bool[Array, "B S"],
        *,
        train: bool,
    ) -> Float[Array, "B T D"]:
        """What each frame of `query` gathers from `other`."""
        width = query.shape[-1]
        # Xavier over PyTorch's stacked [3 D, D] in-projection; its biases start at 0.
        init = uniform((6.0 / (4 * width)) ** 0.5)

        def heads_of(name, x):
            y = nn.Dense(width, kernel_init=init, name=name)(x)
            return y.reshape(*y.shape[:-1], self.heads, -1)

        q_BTHD = heads_of("query", query) / (width / self.heads) ** 0.5
        k_BSHD, v_BSHD = heads_of("key", other), heads_of("value", other)
        scores_BHTS = jnp.einsum("bthd,bshd->bhts", q_BTHD, k_BSHD)
        mask_BHTS = jnp.broadcast_to(other_mask[:, None, None], scores_BHTS.shape)
        p_BHTS = nn.softmax(scores_BHTS, where=mask_BHTS)
        p_BHTS = draws.Dropout(self.dropout)(p_BHTS, train=train)
        context = jnp.einsum("bhts,bshd->bthd", p_BHTS, v_BSHD).reshape(query.shape)
        init = uniform(width**-0.5)
        return nn.Dense(width, kernel_init=init, name="out")(context)


class AttentionPool(nn.Module):
    """A weighted mean over the real frames; weights are a softmax of a linear score."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B D"]:
        """One vector per utterance."""
        score_BT1 = linear(1, x.shape[-1], "score")(x)
        weight_BT = nn.softmax(score_BT1[..., 0], where=mask)
        return jnp.einsum("bt,btd->bd", weight_BT, x)
