"""Scores, on the host. All of them follow from confusion counts."""

from collections.abc import Callable

from jaxtyping import Float, Int, Num
import numpy as np


def confusion(
    label: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int
) -> Int[np.ndarray, "C C"]:
    """Counts by true class (row) and predicted class (column).

    Raises:
      ValueError: if a label is held back (-1), because then there is nothing to score.
    """
    if len(label) == 0 or np.min(label) < 0:
        raise ValueError("no labels to score against: this split's are held back.")
    cell = np.asarray(label) * classes + np.asarray(predicted)
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes)


def macro_f1(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Mean F1 over the classes that occur as truth or prediction, as scikit-learn's."""
    each = f1(counts)
    return _mean_where(np.nan_to_num(each), ~np.isnan(each))


def uar(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Unweighted average recall: the mean over the classes that occur as truth."""
    recalled, occurs = recall(counts), counts.sum(-1) > 0
    return _mean_where(np.nan_to_num(recalled), occurs)


def accuracy(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Share of utterances whose class is right."""
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return np.asarray(hits / counts.sum((-2, -1)))


def recall(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n C"]:
    """Recall of each class; NaN where it does not occur as truth."""
    hits, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    return np.where(true > 0, hits / np.maximum(true, 1), np.nan)


def precision(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n C"]:
    """Precision of each class; NaN where it is never predicted."""
    return recall(np.swapaxes(counts, -1, -2))


def f1(counts: Num[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n C"]:
    """F1 of each class; NaN where it occurs neither as truth nor as prediction."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(-1) + counts.sum(-2)
    return np.where(both > 0, 2 * hits / np.maximum(both, 1), np.nan)


SCORES: dict[str, Callable] = {
    "macro_f1": macro_f1,
    "uar": uar,
    "accuracy": accuracy,
}


def scores(
    label: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int
) -> dict[str, float]:
    """All of `SCORES` of one system."""
    counts = confusion(label, predicted, classes)
    return {name: float(score(counts)) for name, score in SCORES.items()}


def _mean_where(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.asarray((values * there).sum(-1) / np.maximum(there.sum(-1), 1))
