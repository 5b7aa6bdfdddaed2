"""Per-utterance losses: every function returns shape [B], nothing is averaged.

Averaging belongs to the caller, who knows which rows are real (`Batch.weight`).
A target is a distribution over the emotions: one-hot, or the annotators' votes.
Multiplied by class weights it gives the weighted form of its loss.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
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


def focal(
    logits: Float[Array, "B C"], target: Float[Array, "B C"], gamma: float
) -> Float[Array, " B"]:
    """-sum_c target_c (1 - p_c)^gamma log p_c, p = softmax(logits) (Lin et al., 2017).

    With gamma 0 it is the cross-entropy.
    """
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(target * (1 - jnp.exp(log_p)) ** gamma * log_p, axis=-1)


def kl_divergence(
    logits: Float[Array, "B C"],
    target: Float[Array, "B C"],
    class_weight: Float[Array, " C"],
) -> Float[Array, " B"]:
    """sum_c w_c target_c (log target_c - log softmax(logits)_c).

    The cross-entropy less what no logits can bring it below; the gradient is the same.
    """
    floor = jnp.sum(class_weight * xlogy(target, target), axis=-1)
    return floor + cross_entropy(logits, class_weight * target)


def soft_margin(
    logit: Float[Array, " B"], neutral: Float[Array, " B"]
) -> Float[Array, " B"]:
    """log(1 + exp(-y z)), y = 1 for neutral and -1 for expressive (equation 4).

    Args:
      logit: z of the neutral head.
      neutral: Share of neutral in the target; between 0 and 1 the two cases are mixed.
    """
    return neutral * jax.nn.softplus(-logit) + (1 - neutral) * jax.nn.softplus(logit)
