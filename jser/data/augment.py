"""Augmentation of frames in training. Real frames stay first; padding stays padding."""

import jax
import jax.numpy as jnp
import numpy as np

from jser.config import Augment
from jser.models import random
from jser.shapes import Array, Stream


def resample(frames: np.ndarray, factor: float) -> np.ndarray:
    """The frames [T, ...] at another speed: round(T / factor) of them, interpolated."""
    T = len(frames)
    length = int(resampled_length(T, factor))
    position = np.linspace(0, T - 1, length)
    before = np.floor(position).astype(int)
    share = (position - before).astype(np.float32)
    share = share.reshape(-1, *[1] * (frames.ndim - 1))
    after = np.minimum(before + 1, T - 1)
    mixed = frames[before] * (1 - share) + frames[after] * share
    return mixed.astype(frames.dtype)


def resampled_length(T, factor) -> np.ndarray | np.integer:
    """Of what `resample` makes of T frames; numbers or arrays."""
    return np.maximum(1, np.round(T / factor)).astype(int)


def disturb(key: jax.Array, stream: Stream, c: Augment) -> Stream:
    """Adds noise and zeroes random runs of frames and of columns, row by row.

    Where frames carry several layers, a run is zeroed in all of them.
    """
    noise_key, time_key, width_key = jax.random.split(key, 3)
    x = stream.x.astype(jnp.float32)
    (B, T), layers, D = x.shape[:2], (1,) * (x.ndim - 3), x.shape[-1]
    mask = stream.mask.reshape(B, T, *layers, 1)
    if c.noise:
        noise = c.noise * random.normal(noise_key, x.shape)
        x += jnp.where(mask, noise, 0.0)
    length_B = stream.mask.sum(axis=1)
    hidden_BT = _runs(time_key, c.time_masks, c.time_mask_share, length_B, T)
    width_B = jnp.full((B,), D)
    hidden_BD = _runs(width_key, c.width_masks, c.width_mask_share, width_B, D)
    hidden = hidden_BT.reshape(mask.shape) | hidden_BD.reshape(B, 1, *layers, D)
    return Stream(x=jnp.where(hidden, 0.0, x), mask=stream.mask)


def _runs(
    key: jax.Array, count: int, share: float, length_B: Array, size: int
) -> jax.Array:
    """Marks `count` runs a row, each of 0 to `share` of the row's length."""
    place_key, width_key = jax.random.split(key)
    shape = (len(length_B), count)
    length_B1 = length_B[:, None]
    width = random.uniform(width_key, shape) * share * length_B1
    start = random.uniform(place_key, shape) * (length_B1 - width)
    at = jnp.arange(size)
    inside = (at >= start[..., None]) & (at < (start + width)[..., None])
    return inside.any(axis=1)
