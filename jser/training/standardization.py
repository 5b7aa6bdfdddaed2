"""Normalisation statistics of the streams that are standardised."""

import jax.numpy as jnp
import numpy as np

from jser.data.corpus import Corpus
from jser.data.split import Split


def statistics(corpus: Corpus, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """The "standard" variables: by stream, the columns' mean and deviation on `split`.

    At most 1,024 utterances are read, evenly spaced.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, 1024).astype(int))
    standard = {}
    for s in corpus.config.standardize:
        frames = np.concatenate(split.read(rows)[s]).astype(np.float32)
        # A column that never changes carries nothing: 1 keeps it finite.
        deviation = frames.std(axis=0)
        standard[f"{s}_input"] = {
            "mean": jnp.asarray(frames.mean(axis=0)),
            "deviation": jnp.where(deviation > 1e-6, deviation, 1.0),
        }
    return standard
