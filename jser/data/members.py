"""Batches of several runs as one, for a step that trains them together."""

from collections.abc import Sequence
import pathlib

import numpy as np

from jser.data.batches import TrainBatches
from jser.data.collation import collate_members
from jser.data.padding import LengthBuckets
from jser.data.split import Split
from jser.shapes import Batch


class MemberBatches:
    """Batches of several sources as one; random access by tick of a common clock.

    Epochs begin together. A source whose epoch is shorter gives its last batch again,
    for which nobody moves.
    """

    def __init__(self, sources: Sequence[TrainBatches]):
        """All of one batch size, number of buckets and set of streams."""
        self._sources = sources
        self.steps_per_epoch = max(s.steps_per_epoch for s in sources)
        frames = [s.buckets.frames for s in sources]
        longest = lambda s: np.max([f[s] for f in frames], axis=0)
        self._buckets = LengthBuckets({s: longest(s) for s in frames[0]})

    def filled(self, batch: Batch) -> Batch:
        """A batch that lies on the devices, with its frames."""
        return self._sources[0].filled(batch)

    def __len__(self) -> int:
        epochs = (len(s) // s.steps_per_epoch for s in self._sources)
        return min(epochs) * self.steps_per_epoch

    def __getitem__(self, index: int) -> Batch:
        epoch, k = divmod(int(index), self.steps_per_epoch)
        per_epoch = [s.steps_per_epoch for s in self._sources]
        steps = [epoch * n + min(k, n - 1) for n in per_epoch]
        chosen = list(zip(self._sources, steps, strict=True))
        frames = _read_once([(s.split, s.rows(i)) for s, i in chosen])
        examples = [s.examples(i, f) for (s, i), f in zip(chosen, frames, strict=True)]
        return collate_members(examples, self._buckets, self._sources[0].batch_size)


def _read_once(
    wanted: list[tuple[Split, np.ndarray]],
) -> list[dict[str, list[np.ndarray]]]:
    """`split.read(rows)` of each; what two ask for is read once."""
    sets = {f.folder: f for split, _ in wanted for f in split.streams.values()}
    records: dict[pathlib.Path, set[int]] = {folder: set() for folder in sets}
    for split, rows in wanted:
        for s, f in split.streams.items():
            records[f.folder].update(split.record[s][rows].tolist())
    read = {}
    for folder, some in records.items():
        order = sorted(some)
        frames = sets[folder].read(np.array(order))
        read[folder] = dict(zip(order, frames, strict=True))
    return [
        split.scaled(
            rows,
            {
                s: [read[f.folder][r] for r in split.record[s][rows].tolist()]
                for s, f in split.streams.items()
            },
        )
        for split, rows in wanted
    ]
