"""Collation: utterances of many lengths as one padded batch."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jser.data.padding import LengthBuckets
from jser.shapes import Batch, Stream

Examples = tuple[Mapping[str, Sequence[np.ndarray]], np.ndarray]  # Frames, target.


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
