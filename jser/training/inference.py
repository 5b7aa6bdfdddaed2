"""Inference: logits of batches and of whole splits.

Where a network predicts attributes, too, they are columns beside the logits.
"""

from collections.abc import Callable
import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from jser import devices
from jser.data import batches, targets
from jser.data.collation import Share
from jser.data.corpus import Corpus
from jser.data.split import Split
from jser.shapes import Array, Batch
from jser.training.network import AnyNetwork, products
from jser.training.step import Variables, attributes_of


@functools.lru_cache
def make_predict_step(model: AnyNetwork) -> Callable[[Variables, Batch], Array]:
    """Returns the jitted function from a batch to logits [B, C], or [B, C + 3].

    The last three are arousal, valence and dominance from 1 to 7, of a network that
    predicts them.
    """

    def predict_step(variables, batch):
        with products():
            outputs = model.apply(variables, batch.streams, train=False)
        outputs = cast(dict[str, Array], outputs)
        if targets.OF_ATTRIBUTES not in outputs:
            return outputs[targets.EMOTION]
        attributes = attributes_of(outputs[targets.OF_ATTRIBUTES])
        return jnp.concatenate([outputs[targets.EMOTION], attributes], axis=-1)

    return jax.jit(predict_step)


def logits_of(
    predict_step: Callable,
    variables: Variables,
    split: Split,
    corpus: Corpus,
    batch_size: int = 0,
    members: int | None = None,
) -> np.ndarray:
    """Logits [N, C] of all utterances of a split, in its order; `make_predict_step`.

    Devices share the batches, and processes: all of them ask for the same.

    Args:
      predict_step: From variables and a batch to logits [B, C], or [M, B, C].
      variables: Of a network, or of members, with a leading axis M.
      split: The utterances.
      corpus: That they are of.
      batch_size: Utterances at a time; 0 for as many as in training.
      members: M, where the variables are of members; the logits are [M, N, C] then.
    """
    size = batch_size or corpus.config.batch_size
    layout, share = devices.Layout.of(size, members), Share.mine()
    placed, order, parts = layout.place(variables), [], []
    for rows, batch in batches.eval_batches(split, corpus.buckets, size, share):
        batch = split.filled(layout.split_rows(batch))
        logits = devices.whole(predict_step(placed, batch))
        order.append(rows)
        parts.append(logits[..., : len(rows), :])
    return np.concatenate(parts, axis=-2)[..., np.argsort(np.concatenate(order)), :]
