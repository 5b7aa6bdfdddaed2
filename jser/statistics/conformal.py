"""Conformal sets: the classes that cannot be ruled out at a given coverage.

Utterances of one voice stand or fall together, so that what is promised of a new
speaker's must be learned from speakers, not from utterances.
"""

from jaxtyping import Float, Int
import numpy as np


def scores(
    p: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Nonconformity of each utterance: 1 less the probability of its true class."""
    return 1.0 - p[np.arange(len(label)), label]


def threshold(
    score: Float[np.ndarray, " N"], speaker: np.ndarray, coverage: float
) -> float:
    """The largest nonconformity that a set at that coverage takes in.

    Every speaker's empirical distribution weighs the same, and one more speaker, the
    new one, counts as missed altogether (Dunn, Wasserman and Ramdas 2023, "pooling
    CDFs"). So 10 speakers can promise 10/11 at most; beyond, the threshold is 1 and
    every set is whole.

    Args:
      score: Nonconformity, by models that had not heard the speaker.
      speaker: Of each utterance.
      coverage: The share of utterances whose true class is to be in the set.
    """
    names, count = np.unique(speaker, return_counts=True)
    weight = 1.0 / count[np.searchsorted(names, speaker)] / (len(names) + 1)
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order]) >= coverage - 1e-12
    return float(score[order][reached.argmax()]) if reached.any() else 1.0


def held_out_coverage(
    p: Float[np.ndarray, "N C"],
    label: Int[np.ndarray, " N"],
    speaker: np.ndarray,
    coverage: float,
) -> tuple[float, float]:
    """What a threshold keeps its promise by, each speaker's by the others' utterances.

    Returns:
      The share of true classes within the sets, and the sets' mean size; both are means
      over speakers.
    """
    score = scores(p, label)
    covered, size = [], []
    for name in np.unique(speaker):
        own = speaker == name
        limit = threshold(score[~own], speaker[~own], coverage)
        covered.append((score[own] <= limit).mean())
        size.append((1.0 - p[own] <= limit).sum(axis=1).mean())
    return float(np.mean(covered)), float(np.mean(size))


def least_confidence(
    p: Float[np.ndarray, "N C"],
    label: Int[np.ndarray, " N"],
    speaker: np.ndarray,
    lost: float = 0.05,
) -> float:
    """The confidence below which an answer is better withheld.

    The largest that withholds at most the share `lost` of the right answers, every
    speaker's weighing the same.
    """
    right = p.argmax(axis=1) == label
    if not right.any():
        return 0.0
    names, of = np.unique(speaker[right], return_inverse=True)
    weight = 1.0 / np.bincount(of)[of] / len(names)
    confidence = p.max(axis=1)[right]
    order = np.argsort(confidence, kind="stable")
    kept = np.cumsum(weight[order]) > lost
    return float(confidence[order][kept.argmax()])
