"""The two sides of a race over one training step, ours and PyTorch's, on equal inputs.

A side is a function that takes one step, forward, loss, backward and AdamW, and returns
when all of it is done.
"""

from collections.abc import Callable
import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np
import torch

from benchmarks import peer
from jser import recipes
from jser.shapes import Batch, Stream
from jser.training.optimizer import make_optimizer
from jser.training.step import RunHyperparameters, StepConfig, init_state, jitted_step

CLASSES = 8
WIDTHS = (1280, 1024, 256)  # Whisper or HuBERT, RoBERTa, FACodec's prosody.
# N / (8 n) of MSP-Podcast's training split.
CLASS_WEIGHT = (1.2441, 1.3279, 0.5009, 2.8406, 7.4768, 5.8478, 3.3563, 0.2864)

Side = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A padded batch and the network that reads it."""

    batch: int
    frames: tuple[int, ...]  # Of speech, text and prosody, or of the first ones.
    hidden: int = 512
    neutral: bool = True  # With the soft-margin loss.

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the streams, shrunk with the network."""
        return tuple(max(1, D * self.hidden // 512) for D in WIDTHS[: len(self.frames)])

    def arrays(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Frames [B, T, D] of each stream and labels [B]."""
        rng = np.random.default_rng(0)
        frames = [
            rng.standard_normal((self.batch, T, D), np.float32)
            for T, D in zip(self.frames, self.widths, strict=True)
        ]
        return frames, rng.integers(0, CLASSES, self.batch)


def ours(shape: Shape, dtype: str = "float32") -> tuple[Side, float]:
    """Our side and the CPU seconds it took to compile."""
    config, state, batch, numbers = set_up(shape, dtype)
    return _stepping(jitted_step(config), state, batch, numbers)


def several(shape: Shape, dtype: str, members: int) -> tuple[Side, float]:
    """Our side for so many members in one step, of equal batches."""
    from jser.training import together

    config, *own = set_up(shape, dtype)
    state, batch, numbers = (together.stacked(*[x] * members) for x in own)
    moves = np.ones(members, bool)
    return _stepping(together.together_step(config), state, batch, numbers, moves)


def set_up(
    shape: Shape, dtype: str = "float32", kind: str = "fusion"
) -> tuple[StepConfig, Any, Batch, Any]:
    """A member at its first step, its network of any `model.kind`."""
    names = peer.STREAMS[: len(shape.frames)]
    frames, label = shape.arrays()
    streams = {
        s: Stream(x=x, mask=np.ones(x.shape[:2], bool))
        for s, x in zip(names, frames, strict=True)
    }
    target = np.eye(CLASSES, dtype=np.float32)[label]
    batch = jax.device_put(
        Batch(streams=streams, target=target, weight=np.ones(shape.batch, np.float32))
    )
    experiment = recipes.paper(
        "race", epochs=20, soft_margin=shape.neutral, **dict.fromkeys(names, "any")
    )
    experiment.model.kind, experiment.model.hidden = kind, shape.hidden
    experiment.precision = {"bfloat16": "bf16"}.get(dtype, dtype)
    neutral = CLASSES - 1 if shape.neutral else None
    config = StepConfig.of(experiment, CLASSES, (), neutral)
    tx = make_optimizer(experiment.optim, lambda step: 1e-5)
    key = jax.random.key(0)
    state = init_state(config.model, tx, batch, key)
    numbers = RunHyperparameters.of(
        experiment, key, np.array(CLASS_WEIGHT, np.float32), steps=1
    )
    return config, state, batch, numbers


def _stepping(step: Any, state: Any, *rest: Any) -> tuple[Side, float]:
    began = time.process_time()
    compiled = step.lower(state, *rest).compile()
    compiling_s = time.process_time() - began
    return running(compiled, state, *rest), compiling_s


def running(compiled: Any, state: Any, *rest: Any) -> Side:
    """A side of a compiled step."""

    def side() -> None:
        nonlocal state
        state, metrics = compiled(state, *rest)
        jax.block_until_ready((state, metrics))

    return side


def theirs(
    shape: Shape, device: str = "cpu", dtype: str = "float32", compiled: bool = False
) -> Side:
    """PyTorch's side: float32 eager as published, or as fast as it is easily made."""
    torch.manual_seed(0)
    network = peer.Network(shape.widths, shape.hidden, CLASSES, neutral=shape.neutral)
    network.to(device).train()
    optimizer = peer.optimizer_of(network)
    frames, label = shape.arrays()
    step = functools.partial(
        peer.train_step,
        network,
        optimizer,
        [torch.from_numpy(x).to(device) for x in frames],
        torch.from_numpy(label).to(device),
        torch.tensor(CLASS_WEIGHT, device=device),
    )
    if compiled:
        network.compile()

    def side() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            step()

    return side
