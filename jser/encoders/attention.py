"""Scaled dot-product attention of the encoders, for all heads of a layer."""

import jax
from jax import lax
from jax.extend import backend
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.shapes import Array

_LOW = -1e30  # Of a score that counts for nothing,
_LOWEST = -3e38  # and of one that does not where all others are as low.
_BLOCK = 512  # Queries whose scores stay in a processor's cache.
_WIDEST = 128  # Of a head that cuDNN attends to, in eights.


def attend(
    query: Float[Array, "B T A E"],
    key: Float[Array, "B T A E"],
    value: Float[Array, "B T A E"],
    mask: Bool[Array, "B *T T"] | None = None,
    bias: Float[Array, "B A T T"] | None = None,
    scale: float | None = None,
) -> Float[Array, "B T D"]:
    """Scaled dot-product attention; the heads of the result lie side by side.

    Products are in the dtype of the arguments, their sums and the softmax in float32.
    On NVIDIA's GPUs bfloat16 is cuDNN's, which never has all scores (FlashAttention-2,
    Dao, 2023); there the bias is rounded to bfloat16.

    Args:
      query: Of every frame and head.
      key: Likewise.
      value: Likewise.
      mask: Which keys are real, [B, T]; or, query first, which of them each query
        sees, [B, T, T]. A query that sees nothing sees everything alike. Without it,
        all keys count.
      bias: Added to the scaled scores, query first.
      scale: Of the scores; by default 1 / sqrt(E).
    """
    B, T, A, E = query.shape
    low = jnp.zeros((B, T)) if mask is None else jnp.where(mask, 0.0, _LOW)
    low = low[:, None] if low.ndim == 3 else low[:, None, None]
    low = low if bias is None else low + bias
    if query.dtype == jnp.bfloat16 and E <= _WIDEST and E % 8 == 0 and _has_cudnn():
        # Scores stay in the multiprocessors; they are most of what a block would move.
        low = jnp.broadcast_to(low, (*low.shape[:2], T, T)).astype(query.dtype)
        added = None if mask is None and bias is None else low
        if T % 2:  # It has no gradient there: one more, whom nobody sees.
            one = [(0, 0), (0, 0), (0, 1), (0, 1)]
            low = jnp.pad(low, one, constant_values=_LOWEST)
            one = [(0, 0), (0, 1), (0, 0), (0, 0)]
            query, key, value = (jnp.pad(x, one) for x in (query, key, value))
            added = low
        context = jax.nn.dot_product_attention(
            query, key, value, added, scale=scale, implementation="cudnn"
        )
        return context[:, :T].reshape(B, T, A * E)
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    low = jnp.broadcast_to(low, (B, A, *low.shape[2:]))
    if T <= _BLOCK or jax.default_backend() != "cpu":
        context = weighted_sum(q, k, v, low, scale)
    else:
        # Scores of all heads would go to memory and back several times: 3x slower.
        by_blocks = lambda head: _by_blocks(*head, scale=scale)
        context = lax.map(lambda row: lax.map(by_blocks, row), (q, k, v, low))
    return jnp.swapaxes(context, 1, 2).reshape(B, T, A * E)


def _has_cudnn() -> bool:
    return "cuda" in backend.get_backend().platform_version


def weighted_sum(
    query: Float[Array, "*heads S E"],
    key: Float[Array, "*heads T E"],
    value: Float[Array, "*heads T E"],
    low: Float[Array, "*_"] | float = 0.0,
    scale: float | None = None,
) -> Float[Array, "*heads S E"]:
    """`attend` of heads that lie first, where `low` is added to the scaled scores."""
    scores = jnp.einsum(
        "...SE,...TE->...ST", query, key, preferred_element_type=jnp.float32
    )
    # Scaled here, before any rounding.
    scores = scores * (scale or query.shape[-1] ** -0.5) + low
    # Divided by its sum only after the product: less to divide.
    share = jnp.exp(scores - scores.max(-1, keepdims=True))
    context = jnp.einsum(
        "...ST,...TE->...SE",
        share.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )
    return (context / share.sum(-1, keepdims=True)).astype(value.dtype)


def _by_blocks(q: Array, k: Array, v: Array, low: Array, scale: float | None) -> Array:
    """`weighted_sum` of one head, a block of queries at a time."""
    rows = [slice(i, i + _BLOCK) for i in range(0, len(q), _BLOCK)]
    lows = [low if len(low) == 1 else low[r] for r in rows]
    parts = [
        weighted_sum(q[r], k, v, low, scale) for r, low in zip(rows, lows, strict=True)
    ]
    return jnp.concatenate(parts)
