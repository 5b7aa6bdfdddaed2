"""Frames that stay on the devices: a batch is gathered there, and only told which.

What a batch of Whisper's frames takes to read and to send is longer than an accelerator
computes on it. Numbers are those of batches that are read and sent, bit for bit.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools

from absl import logging
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from jser import devices
from jser.data.split import Split
from jser.features.store import FeatureSet
from jser.shapes import Array, Batch, Stream

_PIECE = 2**15  # Frames that are sent at a time.
_SHARE = 0.8  # Of a device's free memory, that frames may take.

Shape = tuple[int, ...]


class ResidentSet(FeatureSet):
    """Features whose frames are read as numbers: where each lies on the devices."""

    def __init__(self, features: FeatureSet, first: dict[int, int]):
        """`first` says of each record that is there where its first frame is."""
        vars(self).update(vars(features))
        self._first = first

    def read(self, records: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Where the frames of these records lie, [T_i] int32."""
        spans = [(self._first[int(r)], int(self.length[r])) for r in records]
        return [np.arange(a, a + n, dtype=np.int32) for a, n in spans]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidentSplit(Split):
    """A split of such features."""

    residence: "Residence"

    def filled(self, batch: Batch) -> Batch:
        """The batch with its frames in place of their numbers."""
        gather = self.residence.gather
        streams = {
            s: Stream(gather(self.streams[s], x.x, x.mask), x.mask)
            for s, x in batch.streams.items()
        }
        return dataclasses.replace(batch, streams=streams)


class Residence:
    """All frames of some splits, on every device of a layout."""

    def __init__(self, splits: Sequence[Split], layout: devices.Layout):
        """Sends them.

        Raises:
          ValueError: if they do not fit, or are scaled by speaker as they are read; of
            several processes.
        """
        if jax.process_count() > 1:
            raise ValueError("--resident: one process alone can keep the frames.")
        if any(split.adapted for split in splits):
            raise ValueError(
                "--resident: data.adapt=speaker scales frames as they are read."
            )
        records: dict[FeatureSet, set[int]] = {}
        one = {f.folder: f for split in splits for f in split.streams.values()}
        for split in splits:
            for s, f in split.streams.items():
                some = records.setdefault(one[f.folder], set())
                some.update(split.record[s].tolist())
        _refuse_too_large(records, layout)
        self._first = {f.folder: {} for f in records}
        self._frames: dict[Shape, Array] = {}
        for shape in {f.shape for f in records}:
            alike = {f: sorted(n) for f, n in records.items() if f.shape == shape}
            self._frames[shape] = self._send(shape, alike, layout)

    def of(self, split: Split) -> ResidentSplit:
        """One of the splits, whose frames are there."""
        streams = {
            s: ResidentSet(f, self._first[f.folder]) for s, f in split.streams.items()
        }
        return ResidentSplit(
            utterances=split.utterances,
            streams=streams,
            label=split.label,
            record=split.record,
            length=split.length,
            residence=self,
        )

    def gather(self, features: FeatureSet, at: Array, mask: Array) -> Array:
        """Frames [..., B, T, D] by their numbers [..., B, T], where those lie."""
        frames = self._frames[features.shape]
        whole = NamedSharding(at.sharding.mesh, PartitionSpec())  # pyright: ignore
        return _gather(jax.device_put(frames, whole), at, mask)

    def _send(
        self, shape: Shape, records: dict[FeatureSet, list[int]], layout: devices.Layout
    ) -> Array:
        """Frames of one shape, and note of where each record begins."""
        count = sum(int(f.length[n].sum()) for f, n in records.items())
        whole = NamedSharding(layout.mesh, PartitionSpec())
        room = -(-count // _PIECE) * _PIECE
        zeros = jax.jit(
            lambda: jnp.zeros((room, *shape), jnp.float16), out_shardings=whole
        )
        frames, piece, end = zeros(), np.zeros((_PIECE, *shape), np.float16), 0
        for part in self._noted(records):
            while len(part):
                at = end % _PIECE
                some = part[: _PIECE - at]
                piece[at : at + len(some)] = some
                end, part = end + len(some), part[len(some) :]
                if end % _PIECE == 0 or end == count:
                    start = (end - 1) // _PIECE * _PIECE
                    frames = _put(frames, jax.device_put(piece.copy(), whole), start)
        logging.info("%d frames of %s stay on the devices", count, shape)
        return frames

    def _noted(self, records: dict[FeatureSet, list[int]]) -> Iterator[np.ndarray]:
        """Frames of all records in turn."""
        end = 0
        for features, numbers in records.items():
            for some in np.array_split(numbers, -(-len(numbers) // 64)):
                for record, frames in zip(some, features.read(some), strict=True):
                    self._first[features.folder][int(record)] = end
                    end += len(frames)
                    yield frames


@functools.partial(jax.jit, donate_argnums=0)
def _put(frames: Array, piece: Array, start: int | Array) -> Array:
    return lax.dynamic_update_slice_in_dim(frames, piece, start, 0)


@jax.jit
def _gather(frames: Array, at: Array, mask: Array) -> Array:
    real = mask.reshape(*mask.shape, *[1] * (frames.ndim - 1))
    return jnp.where(real, frames[at], 0)


def _refuse_too_large(
    records: dict[FeatureSet, set[int]], layout: devices.Layout
) -> None:
    """Raises ValueError unless all frames fit on each device that tells its memory."""
    size = sum(
        2 * np.prod(f.shape) * int(f.length[sorted(n)].sum())
        for f, n in records.items()
    )
    told = [d.memory_stats() for d in layout.mesh.devices.flat]
    free = [m["bytes_limit"] - m["bytes_in_use"] for m in told if m]
    if free and size > _SHARE * min(free):
        raise ValueError(
            f"--resident: the frames are {size / 1e9:.1f} GB, and a device has"
            f" {min(free) / 1e9:.1f} GB free, of which they may take {_SHARE:.0%}."
            " Leave it out: batches are read and sent then."
        )
