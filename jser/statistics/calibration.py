"""Whether probabilities mean what they say, and how to mend them, on the host."""

import dataclasses

from jaxtyping import Float, Int
import numpy as np
from scipy import special

_TEMPERATURES = (0.01, 100.0)  # Where `fit_temperature` looks.


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of equal width from 0 to 1."""

    confidence: np.ndarray  # Float, bins: mean probability of the predicted class ...
    accuracy: np.ndarray  # ... and share of predictions that are right; NaN if empty.
    count: np.ndarray  # Int, bins.


def reliability(
    p: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"], bins: int = 15
) -> Reliability:
    """The reliability diagram of the predicted class (Guo et al. 2017).

    Args:
      p: Probabilities.
      label: True classes.
      bins: Number of bins; a confidence on an edge belongs to the bin below.

    Raises:
      ValueError: if labels are held back, or `p` are no probabilities.
    """
    _check(p, label)
    if (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-4):
        raise ValueError("calibration is of probabilities, and these do not sum to 1.")
    confidence, right = p.max(axis=1), p.argmax(axis=1) == label
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.bincount(bin_of, weights=values, minlength=bins)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return Reliability(mean(confidence), mean(right), count)


def ece(
    p: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"], bins: int = 15
) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over utterances.

    It is biased upwards where bins hold few utterances. Arguments as `reliability`.
    """
    diagram = reliability(p, label, bins)
    gap = np.nan_to_num(np.abs(diagram.confidence - diagram.accuracy))
    return float(gap @ diagram.count / diagram.count.sum())


def fit_temperature(
    logits: Float[np.ndarray, "N C"],
    label: Int[np.ndarray, " N"],
    *,
    weight: Float[np.ndarray, " N"] | None = None,
) -> float:
    """The temperature whose scaled logits are likeliest (Guo et al. 2017).

    Fit it on utterances the logits' model was not trained on: of others it is too low.

    Args:
      logits: Defined up to a constant per utterance.
      label: True classes.
      weight: Of each utterance; None for all alike.

    Returns:
      What to divide the logits by, above 0; within 0.01 to 100.

    Raises:
      ValueError: if labels are held back.
    """
    from scipy import optimize  # Whoever uses a temperature fits none.

    _check(logits, label)
    weight = np.ones(len(label)) if weight is None else weight
    of_label = np.arange(len(label)), label

    def loss(log_temperature: float) -> float:
        log_p = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(weight @ log_p[of_label])

    # The loss has one minimum, being convex in 1 / temperature.
    minimum = optimize.minimize_scalar(
        loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(minimum.x))


def apply_temperature(
    logits: Float[np.ndarray, "*n C"], temperature: float | np.ndarray
) -> Float[np.ndarray, "*n C"]:
    """Scaled logits: another confidence, the same predictions."""
    return logits / temperature


def adjust_prior(
    logits: Float[np.ndarray, "*n C"],
    source_prior: Float[np.ndarray, " _"],
    target_prior: Float[np.ndarray, " _"],
) -> Float[np.ndarray, "*n C"]:
    """Log-probabilities under another class prior (Saerens et al. 2002).

    By Bayes' rule p'(c | x) is in proportion to p(c | x) target(c) / source(c): right
    where classes sound the same in both places and are only more or less frequent.

    Args:
      logits: Under the source prior.
      source_prior: Class shares that the model holds for true. Training with balanced
        classes or with class weights makes them uniform, whatever the corpus holds.
      target_prior: Class shares where the model is to be used, such as uniform.

    Raises:
      ValueError: if a prior is not positive everywhere, or does not sum to 1; a target
        may hold zeros.
    """
    source, target = np.asarray(source_prior), np.asarray(target_prior)
    for name, prior, least in (("source", source, 1e-12), ("target", target, 0)):
        wrong = prior.shape != logits.shape[-1:] or (prior < least).any()
        if wrong or not np.isclose(prior.sum(), 1, atol=1e-6):
            raise ValueError(
                f"{name}_prior: {prior.tolist()} must be the shares of"
                f" {logits.shape[-1]} classes, which sum to 1."
            )
    with np.errstate(divide="ignore"):
        moved = logits + np.log(target) - np.log(source)
    return special.log_softmax(moved, axis=-1)


def _check(logits: np.ndarray, label: np.ndarray) -> None:
    if len(label) == 0 or len(logits) != len(label) or np.min(label) < 0:
        raise ValueError(
            f"{len(logits)} rows of logits and {len(label)} labels: calibration needs"
            " a label for each, and none may be held back."
        )
