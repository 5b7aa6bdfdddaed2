"""Attention of the encoders, for all heads of a layer."""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.shapes import Array

_LOW = -1e30  # Of a score that counts for nothing.
_BLOCK = 512  # Queries whose scores stay in a processor's cache.


def attend(
    query: Float[Array, "B T H d"],
    key: Float[Array, "B T H d"],
    value: Float[Array, "B T H d"],
    mask: Bool[Array, "B T"] | None = None,
    bias: Float[Array, "B H T T"] | None = None,
) -> Float[Array, "B T D"]:
    """Scaled dot-product attention; the heads of the result lie side by side.

    Products are in the dtype of the arguments, their sums and the softmax in float32.

    Args:
      query: Of every frame and head.
      key: Likewise.
      value: Likewise.
      mask: Which keys are real; without it, all.
      bias: Added to the scores, query first.
    """
    B, T, H, d = query.shape
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    low = jnp.zeros((B, T)) if mask is None else jnp.where(mask, 0.0, _LOW)
    low = jnp.broadcast_to(low[:, None, None], (B, H, 1, T))
    low = low if bias is None else low + bias
    if T <= _BLOCK or jax.default_backend() != "cpu":
        context = _context(q, k, v, low)
    else:
        # Scores of all heads would go to memory and back several times: 3x slower.
        context = lax.map(lambda row: lax.map(_by_blocks, row), (q, k, v, low))
    return jnp.swapaxes(context, 1, 2).reshape(B, T, H * d)


def _by_blocks(head: tuple[Array, Array, Array, Array]) -> jax.Array:
    """`_context` of one head, a block of queries at a time."""
    q, k, v, low = head
    rows = [slice(i, i + _BLOCK) for i in range(0, len(q), _BLOCK)]
    lows = [low if len(low) == 1 else low[r] for r in rows]
    parts = [_context(q[r], k, v, low) for r, low in zip(rows, lows, strict=True)]
    return jnp.concatenate(parts)


def _context(q: Array, k: Array, v: Array, low: Array) -> jax.Array:
    scores = jnp.einsum("...qd,...kd->...qk", q, k, preferred_element_type=jnp.float32)
    scores = scores * q.shape[-1] ** -0.5 + low  # Scaled here, before any rounding.
    # Divided by its sum only after the product: less to divide.
    share = jnp.exp(scores - scores.max(-1, keepdims=True))
    context = jnp.einsum(
        "...qk,...kd->...qd",
        share.astype(v.dtype),
        v,
        preferred_element_type=jnp.float32,
    )
    return (context / share.sum(-1, keepdims=True)).astype(v.dtype)
