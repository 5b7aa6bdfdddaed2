"""Normalisation statistics of the streams that are standardised."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jser.data.collation import collate
from jser.data.corpus import Corpus
from jser.data.padding import LengthBuckets
from jser.data.split import Split
from jser.training.network import products
from jser.training.tuned import ENCODER, FROZEN, LEVEL, TunedEncoder, TunedNetwork

_READ = 1024  # Utterances at most, evenly spaced.
_ENCODED = 64  # Where an encoder has yet to make their frames.
_AT_ONCE = 4

Statistics = dict[str, dict[str, jax.Array]]


def statistics(
    corpus: Corpus,
    split: Split,
    network: Any = None,
    encoder: TunedEncoder | None = None,
) -> Statistics:
    """The "standard" variables: by stream, the columns' mean and deviation on `split`.

    Args:
      corpus: That says which streams.
      split: The utterances; 1,024 are read, evenly spaced, or 64 where an encoder that
        learns makes the frames. They are scaled as it makes them before it learns.
      network: Upon that encoder.
      encoder: That learns, if one does.
    """
    rows = _spaced(split, _READ)
    sound = network.stream if encoder else ""
    standard = level(split, encoder)
    for s in corpus.config.standardize:
        if encoder and s == sound:
            frames = _encoded(network, encoder, corpus, split, standard)
        else:
            frames = np.concatenate(split.read(rows)[s]).astype(np.float32)
        standard[f"{s}_input"] = _of(frames)
    return standard


def level(split: Split, encoder: TunedEncoder | None) -> Statistics:
    """Mean and deviation of sound, where an encoder is to read it at that level."""
    if encoder is None or not encoder.program.levelled:
        return {}
    samples = np.concatenate(split.read(_spaced(split, _READ))[encoder.stream])
    return {LEVEL: _of(samples.astype(np.float32))}


def _of(frames: np.ndarray) -> dict[str, jax.Array]:
    # A column that never changes carries nothing: 1 keeps it finite.
    deviation = frames.std(axis=0)
    return {
        "mean": jnp.asarray(frames.mean(axis=0)),
        "deviation": jnp.where(deviation > 1e-6, deviation, 1.0),
    }


def _spaced(split: Split, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, len(split) - 1, most).astype(int))


def _encoded(
    network: TunedNetwork,
    encoder: TunedEncoder,
    corpus: Corpus,
    split: Split,
    standard: Statistics,
) -> np.ndarray:
    """Frames [T, D] or [T, L, D] of some utterances, one after the other."""
    frames_of = _frames_of(network)
    params = {"params": {ENCODER: encoder.learned}, FROZEN: encoder.frozen}
    variables = {**params, "standard": standard}
    rows, s, made = _spaced(split, _ENCODED), network.stream, []
    buckets = LengthBuckets({s: corpus.buckets.frames[s]})
    for i in range(0, len(rows), _AT_ONCE):
        read = {s: split.read(rows[i : i + _AT_ONCE])[s]}
        nothing = np.zeros((len(read[s]), 0), np.float32)
        held = buckets.holding({s: np.array([len(x) for x in read[s]])})
        sound = collate(read, nothing, held, _AT_ONCE).streams[s]
        frames, mask = jax.device_get(frames_of(variables, sound.x, sound.mask))
        real = len(read[s])
        made.append(frames[:real][mask[:real]])
    return np.concatenate(made)


@functools.lru_cache
def _frames_of(network: TunedNetwork) -> Callable:
    """The jitted function from variables and sound to frames and their mask."""

    def frames_of(variables, x, mask):
        with products():
            return network.frames(variables, x[..., 0], mask, train=False)

    return jax.jit(frames_of)
