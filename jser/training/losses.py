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


def vector_scaled(
    logits: Float[Array, "B C"],
    share: Float[Array, " C"],
    gamma: float | Array,
    tau: float | Array,
) -> Float[Array, "B C"]:
    """z_c / (s_max / s_c)^gamma + tau log s_c: the logits of the VS loss.

    Their cross-entropy is that of Kini et al. (2021), as the third of the challenge of
    2025 trains with it; with gamma 0 the logit adjustment of Menon et al. (2021).
    Rare classes must win by more in training; predictions are by z alone.

    Args:
      logits: z.
      share: s, how often each class occurs among the utterances trained on.
      gamma: How much the logits of rare classes are shrunk.
      tau: How much rare classes are handicapped.
    """
    return logits * (share / share.max()) ** gamma + tau * jnp.log(share)


def concordance(
    predicted: Float[Array, " B"], true: Float[Array, " B"], weight: Float[Array, " B"]
) -> Float[Array, ""]:
    """Lin's concordance correlation of the rows of weight 1, over the batch.

    2 cov / (var + var' + (mean - mean')^2), moments divided by the number of rows; 0
    where there are fewer than two rows.
    """
    total = jnp.maximum(weight.sum(), 1.0)
    mean = lambda x: (weight * x).sum() / total
    a, b = predicted - mean(predicted), true - mean(true)
    apart = (mean(predicted) - mean(true)) ** 2
    spread = mean(a**2) + mean(b**2) + apart
    # At 0 the quotient has no gradient, nor a value.
    fits = jnp.where(spread > 0, 2 * mean(a * b) / jnp.where(spread > 0, spread, 1), 0)
    return jnp.where(weight.sum() > 1, fits, 0.0)


def binary_cross_entropy(
    logits: Float[Array, "B F"], target: Float[Array, "B F"]
) -> Float[Array, "B F"]:
    """-t log sigmoid(z) - (1 - t) log sigmoid(-z), of targets from 0 to 1."""
    return target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits)


def soft_margin(
    logit: Float[Array, " B"], neutral: Float[Array, " B"]
) -> Float[Array, " B"]:
    """log(1 + exp(-y z)), y = 1 for neutral and -1 for expressive (equation 4).

    Args:
      logit: z of the neutral head.
      neutral: Share of neutral in the target; between 0 and 1 the two cases are mixed.
    """
    return neutral * jax.nn.softplus(-logit) + (1 - neutral) * jax.nn.softplus(logit)
