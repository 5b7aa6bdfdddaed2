"""The transformer encoder block (Vaswani et al., 2017) that the families share.

Matrix products run in `dtype`. Whatever that is, the residual stream, LayerNorm,
attention's scores and softmax are float32, and so are the hidden states returned.
"""

import dataclasses
import functools
from typing import Any

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from jser.encoders import attention
from jser.shapes import Array


def gelu(x: Array) -> Array:
    """The exact GELU; of narrower dtypes than float32 by way of it, as in PyTorch.

    By erf: cheaper than Flax's erfc, and one kernel on GPUs for two.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (0.5 * wide * (1 + lax.erf(wide * 0.5**0.5))).astype(x.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What config.json says of any transformer encoder."""

    width: int  # D.
    layers: int  # L, the blocks.
    heads: int  # A.
    inner: int  # Width inside the feed-forward.
    epsilon: float = 1e-5  # Of LayerNorm.
    norm_first: bool = False  # Pre-norm: blocks normalise their input, not the sums.
    key_bias: bool = True


def norm(epsilon: float, name: str | None) -> nn.LayerNorm:
    """LayerNorm in float32, by the variance's accurate form as in PyTorch."""
    return nn.LayerNorm(epsilon, dtype=jnp.float32, use_fast_variance=False, name=name)


def split_heads(x: Float[Array, "*B T D"], heads: int) -> Float[Array, "*B T A E"]:
    """The last axis as heads."""
    return x.reshape(*x.shape[:-1], heads, -1)


class Attention(nn.Module):
    """Multi-head self-attention; a family with a bias on the scores overrides `bias`.

    Attributes:
      config: The sizes.
      dtype: Of matrix products.
    """

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD, mask_BT=None, *shared):
        """What every frame gathers, [B, T, D]."""
        c = self.config
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        query = split_heads(dense(name="query")(x_BTD), c.heads)
        key = dense(name="key", use_bias=c.key_bias)(x_BTD)
        value = split_heads(dense(name="value")(x_BTD), c.heads)
        bias = self.bias(x_BTD, *shared)
        context = attention.attend(
            query, split_heads(key, c.heads), value, mask_BT, bias
        )
        return dense(name="out")(context)

    def bias(self, x_BTD, *shared):
        """What is added to the scores, [B, A, T, T], if anything."""
        return None


class Block(nn.Module):
    """Self-attention and feed-forward, each added to the residual stream.

    Attributes:
      config: The sizes, and where the norms are.
      dtype: Of matrix products.
      attention: The kind of attention: a module of these two attributes, called with
        the stream and what all blocks share.
    """

    config: Config
    dtype: Any
    attention: type[nn.Module] = Attention

    @nn.compact
    def __call__(self, x_BTD, *shared):
        """The stream after the block."""
        c = self.config
        attend: Any = self.attention(c, self.dtype, name="attention")
        first, final = norm(c.epsilon, "norm"), norm(c.epsilon, "final_norm")
        up = nn.Dense(c.inner, dtype=self.dtype, name="up")
        down = nn.Dense(c.width, dtype=self.dtype, name="down")
        if c.norm_first:
            x_BTD = x_BTD + attend(first(x_BTD), *shared)
            return x_BTD + down(gelu(up(final(x_BTD))))
        x_BTD = first(x_BTD + attend(x_BTD, *shared))
        return final(x_BTD + down(gelu(up(x_BTD))))
