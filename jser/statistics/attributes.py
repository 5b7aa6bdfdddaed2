"""Scores of predicted attributes, on the host: Lin's concordance (CCC)."""

from jaxtyping import Float
import numpy as np

from jser.statistics.paired import Measure


def concordance(
    predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]
) -> float:
    """Lin's concordance correlation coefficient, by moments over N.

    2 cov / (var + var' + (mean - mean')^2): 1 only where both are equal, 0 where one
    of them never changes.
    """
    return measure(predicted, true).value


def measure(
    predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]
) -> Measure:
    """The same as sums over utterances, for intervals and comparisons."""
    # About the scale's middle: sums of squares lose no digits to the mean.
    middle = true.mean()
    a, b = predicted.astype(float) - middle, true.astype(float) - middle
    rows = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)
    return Measure(rows, _of_sums)


def _of_sums(sums: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n"]:
    count, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    a, b = a / count, b / count
    spread = aa / count - a**2 + bb / count - b**2 + (a - b) ** 2
    shared = 2 * (ab / count - a * b)
    return np.where(spread > 0, shared / np.where(spread > 0, spread, 1), 0.0)
