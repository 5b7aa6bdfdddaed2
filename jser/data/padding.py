"""Length buckets: the few lengths that utterances are padded to."""

from collections.abc import Mapping
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LengthBuckets:
    """Length buckets: a few padded lengths; k pads stream s to `frames[s][k]` frames.

    An utterance is in the lowest bucket that holds all its streams. So there are only
    as many padded shapes, hence compilations, as buckets, and none truncates.
    """

    frames: Mapping[str, np.ndarray]  # Int, ascending; the last is the longest.

    @classmethod
    def of(cls, length: Mapping[str, np.ndarray], count: int) -> "LengthBuckets":
        """Buckets with the least padding in all; the last is each stream's longest."""
        return cls({s: _least_padding(n, count) for s, n in length.items()})

    def bucket(self, length: Mapping[str, np.ndarray]) -> np.ndarray:
        """The bucket of each utterance.

        Raises:
          ValueError: if one is longer than the last bucket.
        """
        by_stream = [np.searchsorted(self.frames[s], n) for s, n in length.items()]
        bucket = np.max(by_stream, axis=0)
        if bucket.size and bucket.max() >= len(next(iter(self.frames.values()))):
            raise ValueError("an utterance is longer than the last padded length.")
        return bucket

    def holding(self, length: Mapping[str, np.ndarray]) -> "LengthBuckets":
        """The lowest bucket that holds all of these utterances, alone."""
        k = int(self.bucket(length).max())
        return LengthBuckets({s: n[k : k + 1] for s, n in self.frames.items()})


def _least_padding(length: np.ndarray, count: int) -> np.ndarray:
    """`count` padded lengths [count] that hold all, with the least frames in all.

    Dynamic programming over at most 256 candidate lengths, quantiles of the given ones:
    `least[j]` is the least number of frames that hold everything up to candidate j.
    """
    at = np.linspace(0, 1, 256)
    candidates = np.unique(np.quantile(length, at, method="inverted_cdf")).astype(int)
    below = np.searchsorted(np.sort(length), candidates, side="right")
    # One bucket from candidate i (excluded) up to j holds below[j] - below[i] of them.
    held = below[None, :] - np.concatenate([[0], below])[:, None]
    cost = np.where(held > 0, held * candidates[None, :], np.inf)
    least, chosen = cost[0], []
    for _ in range(min(count, len(candidates)) - 1):
        whole = np.concatenate([[np.inf], least])[:, None] + cost
        chosen.append(whole.argmin(axis=0))
        least = whole.min(axis=0)
    ends = [len(candidates) - 1]
    for choice in reversed(chosen):
        ends.append(choice[ends[-1]] - 1)
    edges = candidates[ends[::-1]]
    return np.concatenate([edges, np.repeat(edges[-1:], count - len(edges))])
