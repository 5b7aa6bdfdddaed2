"""Scores of predicted attributes, on the host: concordance, and how sure it is."""

from jaxtyping import Float
import numpy as np

_LEVEL = (2.5, 97.5)  # Percentiles of a 95 % interval.


def concordance(
    predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]
) -> float:
    """Lin's concordance correlation coefficient (CCC), by moments over N.

    2 cov / (var + var' + (mean - mean')^2): 1 only where both are equal; 0 where one
    of them never changes.
    """
    return float(_of(_moments(predicted, true).sum(axis=0)))


def interval(
    predicted: Float[np.ndarray, " N"],
    true: Float[np.ndarray, " N"],
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of the concordance.

    Args:
      predicted: What a system says.
      true: What raters said.
      cluster: What is drawn as a whole, such as each utterance's speaker; None draws
        utterances.
      resamples: Draws with replacement.
      seed: Of the draws.
    """
    moments = _moments(predicted, true)
    if cluster is not None:
        names, unit = np.unique(cluster, return_inverse=True)
        sums = np.zeros((len(names), moments.shape[1]))
        np.add.at(sums, unit, moments)
        moments = sums
    rng, units, drawn = np.random.default_rng(seed), len(moments), []
    equal = np.full(units, 1 / units)
    for start in range(0, resamples, 500):
        size = min(500, resamples - start)
        drawn.append(_of(rng.multinomial(units, equal, size=size) @ moments))
    low, high = np.percentile(np.concatenate(drawn), _LEVEL)
    return float(low), float(high)


def _moments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums that a concordance is made of, by row; about a centre, which is exact."""
    centre = (a.mean() + b.mean()) / 2
    a, b = a.astype(float) - centre, b.astype(float) - centre
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=-1)


def _of(sums: np.ndarray) -> np.ndarray:
    """Concordance by sums [..., 6]."""
    count, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    a, b = a / count, b / count
    spread = aa / count - a**2 + bb / count - b**2 + (a - b) ** 2
    shared = 2 * (ab / count - a * b)
    return np.where(spread > 0, shared / np.where(spread > 0, spread, 1), 0.0)
