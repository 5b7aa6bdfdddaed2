"""Scores and their intervals, on the host. All of them follow from confusion counts."""

from collections.abc import Callable

from jaxtyping import Float, Int
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


def macro_f1(counts: Float[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Mean F1 over the classes that occur as truth or prediction, as scikit-learn's."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(-1) + counts.sum(-2)
    return _mean_where(2 * hits / np.maximum(both, 1), both > 0)


def uar(counts: Float[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Unweighted average recall: the mean over the classes that occur as truth."""
    recalled, occurs = recall(counts), counts.sum(-1) > 0
    return _mean_where(np.nan_to_num(recalled), occurs)


def accuracy(counts: Float[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n"]:
    """Share of utterances whose class is right."""
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return hits / counts.sum((-2, -1))


def recall(counts: Float[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n C"]:
    """Recall of each class; NaN where it does not occur as truth."""
    hits, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    return np.where(true > 0, hits / np.maximum(true, 1), np.nan)


def precision(counts: Float[np.ndarray, "*n C C"]) -> Float[np.ndarray, "*n C"]:
    """Precision of each class; NaN where it is never predicted."""
    return recall(np.swapaxes(counts, -1, -2))


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


def bootstrap(
    label: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    classes: int,
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of all `SCORES`.

    Args:
      label: True classes.
      predicted: Predicted classes.
      classes: C.
      cluster: What is drawn as a whole, such as each utterance's speaker: utterances of
        one voice stand or fall together, and an interval that draws them one by one is
        too narrow. None draws utterances.
      resamples: Number of draws with replacement.
      seed: Of the draws.

    Returns:
      Lower and upper bound by score.
    """
    rng = np.random.default_rng(seed)
    if cluster is None:
        # Drawing N utterances with replacement is drawing N confusion cells.
        counts = confusion(label, predicted, classes)
        share = counts.ravel() / counts.sum()
        drawn = rng.multinomial(counts.sum(), share, size=resamples)
    else:
        names, member = np.unique(np.asarray(cluster), return_inverse=True)
        per_cluster = np.stack(
            [
                confusion(label[member == i], predicted[member == i], classes).ravel()
                for i in range(len(names))
            ]
        )
        even = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), even, size=resamples) @ per_cluster
    drawn = drawn.reshape(resamples, classes, classes)
    interval = {}
    for name, score in SCORES.items():
        low, high = np.percentile(score(drawn), (2.5, 97.5))
        interval[name] = (float(low), float(high))
    return interval


def _mean_where(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    return (values * there).sum(-1) / np.maximum(there.sum(-1), 1)
