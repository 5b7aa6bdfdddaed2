"""Per-utterance losses: every function returns shape [B], nothing is averaged.

Averaging belongs to the caller, who knows which rows are real (`Batch.weight`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jser.shapes import Array


def cross_entropy(
    logits: Float[Array, "B C"], target: Float[Array, "B C"]
) -> Float[Array, " B"]:
    """-sum_c target_c log softmax(logits)_c.

    The target need not sum to one: multiplied by class weights it gives the weighted
    cross-entropy of the paper's equation 3, whose mean is normalised by the sum of all
    targets (as PyTorch normalises by the weights of the labels).
    """
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
