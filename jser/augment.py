"""Augmentation of frames in training. Real frames stay first; padding stays padding."""

import jax
import jax.numpy as jnp
import numpy as np

from jser import config as cfg
from jser import draws
from jser.shapes import Array, Stream


def resample(frames: np.ndarray, factor: float) -> np.ndarray:
    """The frames [T, D] at another speed: round(T / factor) of them, interpolated."""
    T = len(frames)
    length = max(1, round(T / factor))
    position = np.linspace(0, T - 1, length)
    before = np.floor(position).astype(int)
    share = (position - before)[:, None].astype(np.float32)
    after = np.minimum(before + 1, T - 1)
    mixed = frames[before] * (1 - share) + frames[after] * share
    return mixed.astype(frames.dtype)


def disturb(key: jax.Array, stream: Stream, c: cfg.Augment) -> Stream:
    """Adds noise and zeroes random runs of frames and of columns, row by row."""
    noise_key, time_key, width_key = jax.random.split(key, 3)
    x_BTD = stream.x.astype(jnp.float32)
    B, T, D = x_BTD.shape
    if c.noise:
        noise = c.noise * draws.shaped(jax.random.normal, noise_key, x_BTD.shape)
        x_BTD += jnp.where(stream.mask[..., None], noise, 0.0)
    length_B = stream.mask.sum(axis=1)
    hidden_BT = _runs(time_key, c.time_masks, c.time_mask_share, length_B, T)
    width_B = jnp.full((B,), D)
    hidden_BD = _runs(width_key, c.width_masks, c.width_mask_share, width_B, D)
    x_BTD = jnp.where(hidden_BT[:, :, None] | hidden_BD[:, None, :], 0.0, x_BTD)
    return Stream(x=x_BTD, mask=stream.mask)


def _runs(
    key: jax.Array, count: int, share: float, length_B: Array, size: int
) -> jax.Array:
    """Marks `count` runs a row, each of 0 to `share` of the row's length."""
    place_key, width_key = jax.random.split(key)
    shape = (len(length_B), count)
    length_B1 = length_B[:, None]
    width = draws.shaped(jax.random.uniform, width_key, shape) * share * length_B1
    start = draws.shaped(jax.random.uniform, place_key, shape) * (length_B1 - width)
    at = jnp.arange(size)
    inside = (at >= start[..., None]) & (at < (start + width)[..., None])
    return inside.any(axis=1)
