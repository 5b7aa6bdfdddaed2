"""Inference: logits of batches and of whole splits."""

from collections.abc import Callable
import functools
from typing import cast

from flax import linen as nn
import jax
import numpy as np

from jser.data import batches
from jser.data.corpus import Corpus
from jser.data.split import Split
from jser.shapes import Array, Batch
from jser.training.step import Variables


@functools.lru_cache
def make_predict_step(model: nn.Module) -> Callable[[Variables, Batch], Array]:
    """Returns the jitted function from a batch to logits [B, C]."""

    def predict_step(variables, batch):
        outputs = model.apply(variables, batch.streams, train=False)
        return cast(dict[str, Array], outputs)["emotion"]

    return jax.jit(predict_step)


def logits_of(
    predict_step: Callable,
    variables: Variables,
    split: Split,
    corpus: Corpus,
    batch_size: int = 0,
) -> np.ndarray:
    """Logits [N, C] of all utterances of a split, in its order.

    Where `predict_step` speaks for members, they are [M, N, C].
    """
    size = batch_size or corpus.config.batch_size
    order, parts = [], []
    for rows, batch in batches.eval_batches(split, corpus.buckets, size):
        order.append(rows)
        parts.append(np.asarray(predict_step(variables, batch))[..., : len(rows), :])
    return np.concatenate(parts, axis=-2)[..., np.argsort(np.concatenate(order)), :]
