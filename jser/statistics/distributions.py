"""Scores of predicted distributions against the raters' votes, on the host."""

from jaxtyping import Bool, Float
import numpy as np
from scipy import special


def kullback_leibler(
    votes: Float[np.ndarray, "N C"], p: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, " N"]:
    """sum_c v_c log2(v_c / p_c), in bits: what is lost by p where the votes are v."""
    return special.rel_entr(votes, np.maximum(p, 1e-12)).sum(axis=1) / np.log(2)


def jensen_shannon(
    votes: Float[np.ndarray, "N C"], p: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, " N"]:
    """Mean divergence of both from their mean, in bits: 0 if equal, at most 1."""
    middle = (votes + p) / 2
    both = (kullback_leibler(x, middle) for x in (votes, p))
    return sum(both, np.zeros(len(votes))) / 2


def several(p: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
    """Emotions whose share is above 1 / C: what counts as heard, of votes or of p.

    The threshold by which secondary emotions are read off distributions (Chou et al.,
    2024).
    """
    return p > 1 / p.shape[1]


def several_f1(votes: Float[np.ndarray, "N C"], p: Float[np.ndarray, "N C"]) -> float:
    """Macro-F1 of `several`, over the emotions that the votes or p have anywhere."""
    true, told = several(votes), several(p)
    hits, both = (true & told).sum(axis=0), true.sum(axis=0) + told.sum(axis=0)
    occurs = both > 0
    return float((2 * hits[occurs] / both[occurs]).mean())


def scores(
    votes: Float[np.ndarray, "N C"], p: Float[np.ndarray, "N C"]
) -> dict[str, float]:
    """Means over the utterances, and `several_f1`."""
    return {
        "jensen_shannon": float(jensen_shannon(votes, p).mean()),
        "kullback_leibler": float(kullback_leibler(votes, p).mean()),
        "several_f1": several_f1(votes, p),
    }
