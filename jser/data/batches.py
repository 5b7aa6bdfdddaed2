"""Batches as a pure function of (seed, step): order, padded lengths, prefetch."""

from collections.abc import Iterator, Mapping, Sequence
import copy
import functools
import os
from typing import Protocol

import grain
import jax
import numpy as np

from jser import devices
from jser.config import Augment, Data
from jser.corpora import tables
from jser.data.collation import WHOLE, Examples, Share
from jser.data.padding import LengthBuckets
from jser.data.speech_changes import SpeechChanges
from jser.data.split import Split
from jser.data.targets import AnnotatorDropout
from jser.emotions import NEUTRAL
from jser.shapes import Batch


def epoch_order(
    label: np.ndarray,
    neutral: np.ndarray,
    *,
    sampler: str,
    rng: np.random.Generator,
    unsure: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The utterances of one epoch, in the order they are drawn.

    Args:
      label: Int [N].
      neutral: Bool [N].
      sampler: "shuffle" visits every utterance once. "neutral_balanced" draws N with
        replacement, neutral and expressive ones alike often in expectation, as the
        authors' code does; "class_balanced" the same for all classes.
        "neutral_stratified" gives every batch as many neutral as expressive ones, each
        visited about equally often within its half. "undersampled" visits all of the
        rarer half of the classes; of each other class, drawn anew, as many as the
        rarest of those has; and for every C of them one without a majority (the
        second stage of the winners of 2025).
      rng: Source of randomness.
      unsure: Bool [N], of utterances without a majority; `label` is their dominant
        class.

    Returns:
      Parts of equal length; a batch takes as many from each.
    """
    N = len(label)
    if sampler == "shuffle":
        return [rng.permutation(N)]
    if sampler == "neutral_stratified":
        groups = (np.flatnonzero(neutral), np.flatnonzero(~neutral))
        return [_cycled(group, N // 2, rng) for group in groups]
    if sampler == "undersampled":
        return [
            _undersampled(label, np.zeros(N, bool) if unsure is None else unsure, rng)
        ]
    group = neutral.astype(int) if sampler == "neutral_balanced" else label
    weight = 1.0 / np.bincount(group)[group]
    return [rng.choice(N, N, p=weight / weight.sum())]


def _undersampled(
    label: np.ndarray, unsure: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One epoch of it, in random order; its length is always the same."""
    count = np.bincount(label[~unsure])
    classes = np.flatnonzero(count)
    by_count = classes[np.argsort(count[classes], kind="stable")]
    most = count[by_count[len(classes) // 2]]  # Of the rarest that is not rare.
    sure = [np.flatnonzero((label == c) & ~unsure) for c in classes]
    drawn = [rng.permutation(rows)[:most] for rows in sure]
    others = sum(map(len, drawn)) // len(classes)
    drawn.append(rng.permutation(np.flatnonzero(unsure))[:others])
    return rng.permutation(np.concatenate(drawn))


def _cycled(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the rows: whole permutations, one after the other."""
    rounds = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]


def epoch_batches(
    order: Sequence[np.ndarray],
    bucket: np.ndarray,
    *,
    batch_size: int,
    window: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Cuts an order into batches of like length.

    Each part of the order is cut into windows of `window` batches; within one,
    utterances are sorted by bucket and the batches made of them shuffled. A window of 1
    leaves batches as random as the order. A batch holds as many of each part.

    Args:
      order: Of `epoch_order`.
      bucket: Int [N], of each utterance.
      batch_size: Utterances a batch.
      window: Batches that are sorted together.
      rng: Shuffles the batches of a window. Where it is the same, so are the places of
        long and short batches, whatever was drawn.
    """
    each, count = batch_size // len(order), len(order[0])
    batches = []
    for start in range(0, count, window * each):
        drawn = [part[start : start + window * each] for part in order]
        sorted_ = [d[np.argsort(bucket[d], kind="stable")] for d in drawn]
        cut = [
            np.concatenate([s[i : i + each] for s in sorted_])
            for i in range(0, len(drawn[0]), each)
        ]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return batches


class TrainBatches:
    """A random-access sequence of training batches; `self[step]` is batch `step`.

    Batch `step` depends on nothing but the arguments and `step`.
    """

    def __init__(
        self,
        split: Split,
        target: np.ndarray,
        buckets: LengthBuckets,
        data: Data,
        augment: Augment | None = None,
        *,
        seed: int,
        epochs: int,
        share: Share = WHOLE,
        classes: int | None = None,
        dropout: AnnotatorDropout | None = None,
    ):
        """Makes batches of `split`.

        Args:
          split: The utterances to train on.
          target: Float [N, K], what they are; the emotions' C columns come first.
          buckets: Padded lengths; they must hold stretched utterances, too.
          data: Batch size, sampler and shuffle window.
          augment: What becomes of speech as it is read; nothing by default.
          seed: Of order and augmentation.
          epochs: How many.
          share: Which of their rows `self[step]` has.
          classes: C; K by default.
          dropout: Which raters each step leaves out; nobody by default.

        Raises:
          ValueError: if the sampler tells neutral from expressive, and one is absent;
            if it goes by emotions, and there is none.
        """
        self.split, self.buckets, self.batch_size = split, buckets, data.batch_size
        self._target, self._data, self._dropout = target, data, dropout
        self._unsure = np.array([tables.without_majority(u) for u in split.utterances])
        self._class = np.where(
            split.label < 0, target[:, :classes].argmax(axis=1), split.label
        )
        self._neutral = np.array([u.emotion == NEUTRAL for u in split.utterances])
        if data.sampler.startswith("neutral") and len(set(self._neutral)) < 2:
            raise ValueError(
                f"data.sampler: {data.sampler!r} needs utterances that are"
                f" {NEUTRAL!r} and others; {data.train_split!r} has only one kind."
            )
        if data.sampler == "undersampled" and self._unsure.all():
            raise ValueError(
                f"data.sampler: {data.sampler!r} goes by emotions, and no utterance of"
                f" {data.train_split!r} has one. Take 'shuffle'."
            )
        self._changes = SpeechChanges(augment or Augment(), split, seed)
        self._seed, self._epochs, self._share = seed, epochs, share
        self._bucket = buckets.bucket(split.length)
        self._epoch = functools.lru_cache(maxsize=2)(self._cut_epoch)
        self.steps_per_epoch = len(self._epoch(0))  # Of any; the last may be short.

    def __len__(self) -> int:
        return self._epochs * self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows(index)

        def examples_of(places: np.ndarray) -> Examples:
            return self.examples(index, self.split.read(rows[places]), places)

        length = self._length(index)
        return self._share.collate(
            len(rows), length, examples_of, self.buckets, self.batch_size
        )

    def of(self, split: Split) -> "TrainBatches":
        """The same batches of the same utterances, read from another place."""
        other = copy.copy(self)
        other.split = split
        return other

    def filled(self, batch: Batch) -> Batch:
        """A batch that lies on the devices, with its frames."""
        return self.split.filled(batch)

    def rows(self, index: int) -> np.ndarray:
        """The utterances of a batch, by their number in the split."""
        epoch, k = divmod(int(index), self.steps_per_epoch)
        return self._epoch(epoch)[k]

    def examples(
        self,
        index: int,
        frames: Mapping[str, list[np.ndarray]],
        places: np.ndarray | None = None,
    ) -> Examples:
        """Frames and target of a batch, or of some places in it.

        Args:
          index: Of the batch.
          frames: Of `rows(index)`, or of those places of it, as they are stored.
          places: In the batch; None for all.
        """
        rows = self.rows(index)
        chosen = np.arange(len(rows)) if places is None else places
        changed = self._changes.apply(index, frames, chosen, len(rows))
        target = self._target[rows[chosen]]
        if self._dropout:
            target = self._dropout(int(index), rows, chosen, target)
        second = self._changes.second(index, len(rows))[chosen]
        two = second >= 0
        target[two] = (target[two] + self._target[second[two]]) / 2
        return changed, target

    def _length(self, index: int) -> dict[str, np.ndarray]:
        """The numbers of frames of a batch's utterances, as they are trained on."""
        rows = self.rows(index)
        length = {s: n[rows] for s, n in self.split.length.items()}
        return self._changes.lengths(index, length)

    def _cut_epoch(self, epoch: int) -> list[np.ndarray]:
        data = self._data
        rng = np.random.default_rng((self._seed, _ORDER, epoch))
        return epoch_batches(
            epoch_order(
                *(self._class, self._neutral),
                sampler=data.sampler,
                rng=rng,
                unsure=self._unsure,
            ),
            self._bucket,
            batch_size=data.batch_size,
            window=data.shuffle_window,
            # Not of the seed: members that train together have like lengths at a time.
            rng=np.random.default_rng((_PLACES, epoch)),
        )


_ORDER, _PLACES = 0, 2  # Streams of random numbers; `speech_changes` has others.
_READERS, _AHEAD = 8, 4  # Threads at most; batches that lie ready.


def eval_batches(
    split: Split, buckets: LengthBuckets, batch_size: int, share: Share = WHOLE
) -> Iterator[tuple[np.ndarray, Batch]]:
    """All utterances once, those of like length together, with their row numbers."""
    order = np.argsort(buckets.bucket(split.length), kind="stable")
    cut = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    def batch(i: int) -> tuple[np.ndarray, Batch]:
        rows = cut[i]

        def examples_of(places: np.ndarray) -> Examples:
            nothing = np.zeros((len(places), 0), np.float32)  # No target is needed.
            return split.read(rows[places]), nothing

        length = {s: n[rows] for s, n in split.length.items()}
        made = share.collate(len(rows), length, examples_of, buckets, batch_size)
        return rows, made

    return _prefetched(grain.MapDataset.range(len(cut)).map(batch))


class Filled(grain.sources.RandomAccessDataSource[Batch], Protocol):
    """Batches by number, of a split or several alike."""

    def filled(self, batch: Batch) -> Batch:
        """One that lies on the devices, with its frames."""
        ...


def prefetch(batches: Filled, layout: devices.Layout, *, start: int) -> Iterator[Batch]:
    """Iterates `batches[start:]`, reading ahead in threads and onto the devices."""
    dataset = grain.MapDataset.source(batches).slice(slice(start, None))
    return _prefetched(dataset.map(lambda x: batches.filled(layout.split(x))))


def _prefetched(dataset: grain.MapDataset) -> Iterator:
    # An accelerator wants a batch every few milliseconds, for which one thread takes
    # tens (benchmarks/epoch.py); a CPU that computes steps has no core to spare.
    is_fed = jax.default_backend() != "cpu"
    threads = min(_READERS, os.cpu_count() or 1) if is_fed else 1
    read = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(_AHEAD, threads)
    )
    return iter(dataset.to_iter_dataset(read))
