"""Scores by group of utterances: gender, speaker, length. On the host."""

from collections.abc import Sequence
import itertools
import re

from jaxtyping import Float, Int
import numpy as np

from jser.statistics import metrics


def by_group(
    label: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    group: np.ndarray,
    classes: int,
) -> dict[str, dict[str, float]]:
    """All `metrics.SCORES` of each group, and "n", its number of utterances.

    Macro-F1 and UAR of a group are means over the classes that occur in it, so groups
    that lack a class are not measured by the same rule; "classes" says how many occur
    as truth.

    Args:
      label: True classes.
      predicted: Predicted classes.
      group: Of each utterance, [N] str; "" where it is not known is a group too.
      classes: C.

    Returns:
      By group, in the order of their names, "s2" before "s10".

    Raises:
      ValueError: if labels are held back.
    """
    names, number, count = np.unique(group, return_inverse=True, return_counts=True)
    each = np.split(np.argsort(number, kind="stable"), np.cumsum(count)[:-1])
    rows_of = dict(zip(names.tolist(), each, strict=True))
    scores = {}
    for name in sorted(rows_of, key=_natural):
        mine = rows_of[name]
        scores[name] = metrics.scores(label[mine], predicted[mine], classes) | {
            "n": len(mine),
            "classes": len(np.unique(label[mine])),
        }
    return scores


def length_bins(
    seconds: Float[np.ndarray, " N"], edges: Sequence[float] | None = None
) -> np.ndarray:
    """The bin of each utterance's length, [N] str, such as "2.0-4.5 s".

    Args:
      seconds: Lengths.
      edges: Inner edges in seconds; None for the quartiles. A length on an edge
        belongs to the bin above. The outer edges are the shortest and the longest.
    """
    quartiles = np.quantile(seconds, (0.25, 0.5, 0.75))
    inner = np.unique(quartiles if edges is None else edges)
    ends = [np.min(seconds), *inner, np.max(seconds)]
    names = [f"{low:.1f}-{high:.1f} s" for low, high in itertools.pairwise(ends)]
    return np.array(names)[np.searchsorted(inner, seconds, side="right")]


def _natural(name: str) -> list[str | int]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [int(x) if x.isdigit() else x for x in parts]
