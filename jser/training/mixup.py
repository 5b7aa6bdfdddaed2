"""Manifold mixup."""

import jax
import jax.numpy as jnp

from jser.shapes import Array


def mixup(key: jax.Array, target_BC: Array, alpha: float):
    """Manifold mixup (Verma et al., 2019) of joint vectors and targets.

    Args:
      key: Of the shares and of who is mixed with whom.
      target_BC: Targets of the batch.
      alpha: Of the beta distribution of shares; 0 mixes nothing.

    Returns:
      What mixes the rows of an array, and the targets mixed so.
    """
    if not alpha:
        return (lambda joint: joint), target_BC
    share_key, order_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha)
    order_B = jax.random.permutation(order_key, len(target_BC))
    mix = lambda x: share * x + (1 - share) * jnp.take(x, order_B, axis=0)
    return mix, mix(target_BC)
