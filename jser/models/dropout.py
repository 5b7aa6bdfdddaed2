"""Dropout that padding does not change."""

from flax import linen as nn
import jax.numpy as jnp

from jser.models import random
from jser.shapes import Array


class Dropout(nn.Module):
    """Zeroes elements at `rate` in training and scales the others by 1 / (1 - rate)."""

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`x` as it is unless `train`, which needs the key "dropout"."""
        if not train or not self.rate:
            return x
        keep = random.uniform(self.make_rng("dropout"), x.shape) < 1 - self.rate
        return jnp.where(keep, x / (1 - self.rate), 0.0)
