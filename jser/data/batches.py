"""Batches as a pure function of (seed, step): order, padded lengths, prefetch."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools

import grain
import numpy as np

from jser import augment
from jser import config as cfg
from jser.data.features import Split
from jser.shapes import Batch
from jser.shapes import Stream


@dataclasses.dataclass(frozen=True)
class Levels:
    """A few padded lengths: level k pads stream s to `frames[s][k]` frames.

    An utterance is on the lowest level that holds all its streams. So there are only as
    many padded shapes, hence compilations, as levels, and none truncates.
    """

    frames: Mapping[str, np.ndarray]  # Int, ascending; the last is the longest.

    @classmethod
    def of(cls, length: Mapping[str, np.ndarray], count: int) -> "Levels":
        """Levels with the least padding in all; the last is each stream's longest."""
        return cls({s: _least_padding(n, count) for s, n in length.items()})

    def level(self, length: Mapping[str, np.ndarray]) -> np.ndarray:
        """The level of each utterance.

        Raises:
          ValueError: if one is longer than the last level.
        """
        found = [np.searchsorted(self.frames[s], n) for s, n in length.items()]
        level = np.max(found, axis=0)
        if level.size and level.max() >= len(next(iter(self.frames.values()))):
            raise ValueError("an utterance is longer than the last padded length.")
        return level


def _least_padding(length: np.ndarray, count: int) -> np.ndarray:
    """`count` padded lengths [count] that hold all, with the least frames in all.

    Dynamic programming over at most 256 candidate lengths, quantiles of the given ones:
    `least[j]` is the least number of frames that hold everything up to candidate j.
    """
    at = np.linspace(0, 1, 256)
    candidates = np.unique(np.quantile(length, at, method="inverted_cdf")).astype(int)
    below = np.searchsorted(np.sort(length), candidates, side="right")
    # One level from candidate i (excluded) up to j holds below[j] - below[i] of them.
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


def epoch_order(
    count: int, *, sampler: str, rng: np.random.Generator
) -> np.ndarray:
    """The utterances of one epoch, in the order they are drawn.

    "shuffle" visits each of `count` utterances once.
    """
    if sampler == "shuffle":
        return rng.permutation(count)
    raise ValueError(f"data.sampler: {sampler!r} is not one of shuffle.")


def epoch_batches(
    order: np.ndarray,
    level: np.ndarray,
    *,
    batch_size: int,
    window: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Cuts an order into batches of like length.

    The order is cut into windows of `window` batches; within one, utterances are sorted
    by level and the batches made of them shuffled. A window of 1 leaves batches as
    random as the order.
    """
    batches = []
    for start in range(0, len(order), window * batch_size):
        drawn = order[start : start + window * batch_size]
        by_level = drawn[np.argsort(level[drawn], kind="stable")]
        cut = [
            by_level[i : i + batch_size] for i in range(0, len(by_level), batch_size)
        ]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return batches


def collate(
    frames: Mapping[str, Sequence[np.ndarray]],
    label: Sequence[int] | np.ndarray,
    levels: Levels,
    batch_size: int,
) -> Batch:
    """Stacks utterances, padded with zeros to the lowest level that holds them all.

    A batch that is short is filled with copies of its first utterance, of weight 0.
    """
    real = len(label)
    fill = [0] * (batch_size - real)
    length = {s: np.array([len(f) for f in x]) for s, x in frames.items()}
    level = levels.level(length).max()
    streams = {}
    for s, x in frames.items():
        T = int(levels.frames[s][level])
        x_BTD = np.zeros((batch_size, T, x[0].shape[-1]), x[0].dtype)
        for row, i in zip(x_BTD, [*range(real), *fill], strict=True):
            row[: len(x[i])] = x[i]
        length_B = length[s][[*range(real), *fill]]
        streams[s] = Stream(x=x_BTD, mask=np.arange(T) < length_B[:, None])
    return Batch(
        streams=streams,
        label=np.array([*label, *[label[0]] * len(fill)], np.int32),
        weight=np.array([1.0] * real + [0.0] * len(fill), np.float32),
    )


class TrainBatches:
    """A random-access sequence of training batches; `self[step]` is batch `step`.

    Batch `step` depends on nothing but the arguments and `step`.
    """

    def __init__(
        self,
        split: Split,
        levels: Levels,
        data: cfg.Data,
        *,
        speed: float = 0.0,
        seed: int,
        epochs: int,
    ):
        """Makes batches of `split`.

        Args:
          split: The utterances to train on.
          levels: Padded lengths; with `speed` they must hold stretched utterances too.
          data: Batch size, sampler and shuffle window.
          speed: Speech is stretched by a factor drawn within 1 - speed to 1 + speed.
          seed: Of order and stretching.
          epochs: How many.
        """
        self._split, self._levels, self._data = split, levels, data
        self._speed, self._seed, self._epochs = speed, seed, epochs
        self._level = levels.level(split.length)
        self._epoch = functools.lru_cache(maxsize=2)(self._cut_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last may be short."""
        return -(-len(self._split) // self._data.batch_size)

    def __len__(self) -> int:
        return self._epochs * self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        epoch, k = divmod(int(index), self.steps_per_epoch)
        rows = self._epoch(epoch)[k]
        frames = self._split.read(rows)
        if self._speed:
            rng = np.random.default_rng((self._seed, _STRETCH, int(index)))
            factors = rng.uniform(1 - self._speed, 1 + self._speed, len(rows))
            for s, found in self._split.streams.items():
                if found.spec["kind"] == "speech":
                    pairs = zip(frames[s], factors, strict=True)
                    frames[s] = [augment.resample(x, f) for x, f in pairs]
        label = self._split.label[rows]
        return collate(frames, label, self._levels, self._data.batch_size)

    def _cut_epoch(self, epoch: int) -> list[np.ndarray]:
        data = self._data
        rng = np.random.default_rng((self._seed, _ORDER, epoch))
        return epoch_batches(
            epoch_order(len(self._split), sampler=data.sampler, rng=rng),
            self._level,
            batch_size=data.batch_size,
            window=data.shuffle_window,
            rng=rng,
        )


_ORDER, _STRETCH = 0, 1  # Streams of random numbers under one seed.


def eval_batches(
    split: Split, levels: Levels, batch_size: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """All utterances once, those of like length together, with their row numbers."""
    order = np.argsort(levels.level(split.length), kind="stable")
    cut = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    def batch(i: int) -> tuple[np.ndarray, Batch]:
        frames = split.read(cut[i])
        return cut[i], collate(frames, split.label[cut[i]], levels, batch_size)

    return _prefetched(grain.MapDataset.range(len(cut)).map(batch))


def prefetch(batches: TrainBatches, *, start: int) -> Iterator[Batch]:
    """Iterates `batches[start:]`, reading ahead in a thread."""
    return _prefetched(grain.MapDataset.source(batches).slice(slice(start, None)))


def _prefetched(dataset: grain.MapDataset) -> Iterator:
    read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    return iter(dataset.to_iter_dataset(read))
