"""Scores of predicted distributions against the raters' votes, on the host."""

from jaxtyping import Bool, Float
import numpy as np
from scipy import special

from jser.statistics.paired import Measure


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
    return (kullback_leibler(votes, middle) + kullback_leibler(p, middle)) / 2


def several(p: Float[np.ndarray, "N C"]) -> Bool[np.ndarray, "N C"]:
    """Emotions whose share is above 1 / C: what counts as heard, of votes or of p.

    The threshold by which more emotions than one are read off distributions (Chou et
    al., 2024).
    """
    return p > 1 / p.shape[1]


def measures(
    votes: Float[np.ndarray, "N C"], p: Float[np.ndarray, "N C"]
) -> dict[str, Measure]:
    """Means of both divergences, and macro-F1 of what is heard by `several`.

    The latter is over the emotions that the votes or p have anywhere.
    """
    true, told = several(votes), several(p)
    hits, both = true & told, true.astype(float) + told
    return {
        "jensen_shannon": Measure.mean(jensen_shannon(votes, p)),
        "kullback_leibler": Measure.mean(kullback_leibler(votes, p)),
        "several_f1": Measure(np.concatenate([hits, both], axis=1), _macro_f1),
    }


def _macro_f1(sums: Float[np.ndarray, "*n C2"]) -> Float[np.ndarray, "*n"]:
    hits, both = np.split(sums, 2, axis=-1)
    each = 2 * hits / np.maximum(both, 1)
    return each.sum(axis=-1) / np.maximum((both > 0).sum(axis=-1), 1)
