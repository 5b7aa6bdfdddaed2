"""Batched inference in which every utterance is treated as if it were alone."""

from collections.abc import Callable, Iterator, Sequence
import itertools
from typing import Any

import numpy as np

from jser.encoders import processors

_LEAST_FULL = 0.8  # Of a batch's rows; else what is left makes two batches.


class BatchedEncoder:
    """Batched encoder: cuts into windows, batches those of like length, joins frames.

    Longest windows come first, so that what does not fit into memory shows at once. A
    batch holds as many windows as make `budget` frames at the length that they are
    padded to. Both numbers take few values, since every pair of them may be compiled.
    """

    def __init__(
        self,
        processor: processors.Processor,
        run: Callable[..., Any],
        *,
        budget: int,
        fetch: Callable[[Any], np.ndarray] = np.asarray,
        compiles: bool = True,
        devices: int = 1,
    ):
        """Makes an encoder of a processor and a model.

        Args:
          processor: What makes the model's arguments of utterances.
          run: The model: from a batch's arrays to [B, T, D] or [L, B, T, D], perhaps
            not computed yet.
          budget: Frames of a batch, padding included; a single window may have more.
          fetch: From what `run` returns to float32 in memory, waiting for it.
          compiles: Whether `run` is compiled for every new shape.
          devices: How many share a batch; its rows are a multiple of it.
        """
        self._processor, self._run, self._fetch = processor, run, fetch
        self._budget, self._compiles, self._devices = budget, compiles, devices
        self._shapes: set[tuple[int, ...]] = set()

    @property
    def compiled(self) -> int:
        """Shapes compiled until now."""
        return len(self._shapes) if self._compiles else 0

    def __call__(
        self,
        inputs: Sequence[Any] | np.ndarray,
        on_done: Callable[[int], None] | None = None,
    ) -> list[np.ndarray]:
        """Frames [T_i, D] or [T_i, L, D] float32 of each input, in order.

        Args:
          inputs: Samples at 16 kHz, or transcripts.
          on_done: Told how many more inputs are done, now and then.

        Raises:
          ValueError: if an input is too short for a frame, before any is encoded.
        """
        cuts = [self._processor.cut(x) for x in inputs]
        windows = [window for cut in cuts for window in cut]
        owner = [i for i, cut in enumerate(cuts) for _ in cut]
        left = [len(cut) for cut in cuts]
        parts: list[Any] = [None] * len(windows)
        for batch, frames in self._encode(windows):
            for row, k in enumerate(batch):
                made = (
                    frames[:, row].swapaxes(0, 1) if frames.ndim == 4 else frames[row]
                )
                # A copy, so that the batch's padding does not stay in memory.
                parts[k] = made[windows[k].keep].copy()
                left[owner[k]] -= 1
            done = sum(not left[i] for i in {owner[k] for k in batch})
            if on_done and done:
                on_done(done)
        parts.reverse()
        joined = ([parts.pop() for _ in cut] for cut in cuts)
        return [p[0] if len(p) == 1 else np.concatenate(p) for p in joined]

    def _encode(
        self, windows: list[processors.Window]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Batches of indices into `windows`, and their frames.

        While the device computes a batch the next one is being prepared.
        """
        waiting = None
        for batch, rows, padded in self._batches(windows):
            fill = batch[-1:] * (rows - len(batch))
            arrays = self._processor.batch([windows[k] for k in batch + fill], padded)
            self._shapes.add(arrays[0].shape)
            made = self._run(*arrays)
            kept = processors.bucket(max(windows[k].keep.stop for k in batch))
            if kept < made.shape[-2]:  # Whisper's 30 s are mostly silence.
                made = made[..., :kept, :]
            if waiting:
                yield waiting[0], self._fetch(waiting[1])
            waiting = batch, made
        if waiting:
            yield waiting[0], self._fetch(waiting[1])

    def _batches(
        self, windows: list[processors.Window]
    ) -> Iterator[tuple[list[int], int, int]]:
        """Indices of a batch's windows, its rows, and the length they are padded to.

        Where padding is not masked, that length is each window's own.
        """
        left = sorted(range(len(windows)), key=lambda k: -windows[k].frames)
        while left:
            padded = self._processor.padded(windows[left[0]].frames)
            most = max(self._budget // padded, 1)
            rows = take = min(most, len(left))
            if not self._processor.masked:
                own = (self._processor.padded(windows[k].frames) for k in left[:most])
                rows = take = sum(1 for _ in itertools.takewhile(padded.__eq__, own))
            if take < most and self._compiles:
                rows = min(most, 2 ** (take - 1).bit_length())
                if take < _LEAST_FULL * rows:
                    rows = take = 2 ** (take.bit_length() - 1)
            yield left[:take], -(-rows // self._devices) * self._devices, padded
            left = left[take:]
