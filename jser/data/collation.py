"""Collation: utterances of many lengths as one padded batch."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import jax
import numpy as np

from jser.data.padding import LengthBuckets
from jser.shapes import Batch, Stream

Examples = tuple[Mapping[str, Sequence[np.ndarray]], np.ndarray]  # Frames, target.


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows of batches that one of several processes computes: a run of them.

    Shares are equal and in the order of the processes. What a row holds, and how far it
    is padded, is as it is where one process computes them all.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def mine(cls) -> "Share":
        """This process's."""
        return cls(jax.process_index(), jax.process_count())

    def collate(
        self,
        real: int,
        length: Mapping[str, np.ndarray],
        examples_of: Callable[[np.ndarray], Examples],
        buckets: LengthBuckets,
        batch_size: int,
    ) -> Batch:
        """Its rows of a batch.

        Args:
          real: Utterances of the whole batch; the rest of the rows are filled.
          length: Their numbers of frames, [real] by stream.
          examples_of: Frames and targets of some of them, by their places; no others
            are read.
          buckets: Padded lengths.
          batch_size: Rows of the whole batch; a multiple of `count`.
        """
        rows = np.array_split(np.arange(batch_size), self.count)[self.index]
        places = np.where(rows < real, rows, 0)
        read, back = np.unique(places, return_inverse=True)
        frames, target = examples_of(read)
        filled = {s: [frames_of[i] for i in back] for s, frames_of in frames.items()}
        bucket = buckets.holding(length)
        batch = collate(filled, target[back], bucket, len(rows))
        return dataclasses.replace(batch, weight=(rows < real).astype(np.float32))


WHOLE = Share()


def collate(
    frames: Mapping[str, Sequence[np.ndarray]],
    target: np.ndarray,
    buckets: LengthBuckets,
    batch_size: int,
) -> Batch:
    """Stacks utterances, padded with zeros to the lowest bucket that holds them all.

    A batch that is short is filled with copies of its first utterance, of weight 0.
    Frames keep their dtype: float16 goes to the device as it is.
    """
    stacked = collate_members([(frames, target)], buckets, batch_size)
    return jax.tree.map(lambda x: x[0], stacked)


def collate_members(
    members: Sequence[Examples], buckets: LengthBuckets, batch_size: int
) -> Batch:
    """Batches of several members as one, all padded to the same bucket.

    Every array gets a leading axis M; row m is what `collate` makes of member m, but
    for the padding.
    """
    M, streams = len(members), {}
    real = np.array([len(target) for _, target in members])
    rows = [[*range(n), *[0] * (batch_size - n)] for n in real]
    joined = {
        s: [
            frames[s][i]
            for (frames, _), r in zip(members, rows, strict=True)
            for i in r
        ]
        for s in buckets.frames
    }
    length = {
        s: np.array([len(x) for x in frames_of]) for s, frames_of in joined.items()
    }
    bucket = buckets.bucket(length).max()
    for s, frames_of in joined.items():
        T = int(buckets.frames[s][bucket])
        padded = np.zeros(
            (len(frames_of), T, *frames_of[0].shape[1:]), frames_of[0].dtype
        )
        for row, x in zip(padded, frames_of, strict=True):
            row[: len(x)] = x
        mask = np.arange(T) < length[s][:, None]
        streams[s] = Stream(
            x=padded.reshape(M, batch_size, *padded.shape[1:]),
            mask=mask.reshape(M, batch_size, T),
        )
    return Batch(
        streams=streams,
        target=np.stack([t[r] for (_, t), r in zip(members, rows, strict=True)]),
        weight=(np.arange(batch_size) < real[:, None]).astype(np.float32),
    )
