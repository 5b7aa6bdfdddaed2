"""Manifold mixup."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jser.config import Augment
from jser.shapes import Array


def mixup(
    key: jax.Array, target_BK: Array, c: Augment
) -> tuple[Callable[[Array], Array], Array]:
    """Manifold mixup (Verma et al., 2019) of joint vectors and targets.

    Shares are drawn from a beta distribution of alpha `c.mixup`, one for the batch, or
    with `c.mixup_each` one for each utterance. With `c.mixup_chance` below 1 some
    batches stay as they are. (The winners of 2025: alpha 0.2, each, chance 0.3.)

    Args:
      key: Of the shares and of who is mixed with whom.
      target_BK: Targets of the batch; what is not known of one of two is not known of
        their mixture.
      c: The augmentation; an alpha of 0 mixes nothing.

    Returns:
      What mixes the rows of an array, and the targets mixed so.
    """
    if not c.mixup:
        return (lambda joint: joint), target_BK
    share_key, order_key = jax.random.split(key)
    shape = (len(target_BK), 1) if c.mixup_each else ()
    share = jax.random.beta(share_key, c.mixup, c.mixup, shape)
    order_B = jax.random.permutation(order_key, len(target_BK))
    mixed = lambda x: share * x + (1 - share) * jnp.take(x, order_B, axis=0)
    if c.mixup_chance == 1:
        return mixed, mixed(target_BK)
    is_mixed = jax.random.bernoulli(jax.random.fold_in(key, 1), c.mixup_chance)
    mix = lambda x: jnp.where(is_mixed, mixed(x), x)
    return mix, mix(target_BK)
