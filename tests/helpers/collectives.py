"""Compiles the training step for many devices and counts what they say to each other.

`python -m tests.helpers.collectives 8 0` of a run alone, `8 12` of twelve members; it
prints the mesh's sizes and the counts by kind, as JSON. The recurrence's loop is that
of accelerators, of which there are many.
"""

from collections import Counter
import json
import os
import re
import sys
from unittest import mock

import jax
import numpy as np

from jser import devices
from jser.models import recurrence
from jser.shapes import Batch, Stream
from jser.training import together
from jser.training.optimizer import make_optimizer
from jser.training.step import RunHyperparameters, StepConfig, init_state, jitted_step
from tests.helpers import tiny_corpus

BATCH, CLASSES = 16, 3
KINDS = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"


def batch(*lead: int) -> Batch:
    rows = (*lead, BATCH)
    streams = {
        s: Stream(np.zeros((*rows, T, 12), np.float16), np.ones((*rows, T), bool))
        for s, T in (("speech", 9), ("text", 5))
    }
    target = np.full((*rows, CLASSES), 1 / CLASSES, np.float32)
    return Batch(streams, target, np.ones(rows, np.float32))


def compiled(members: int) -> tuple[devices.Layout, str]:
    """Where things lie, and the step's text."""
    c = tiny_corpus.experiment()
    c.augment.noise = c.augment.time_mask_share = c.augment.width_mask_share = 0.1
    c.augment.time_masks = c.augment.width_masks = 2
    config = StepConfig.of(c, CLASSES, ("speech",), None)
    tx = make_optimizer(c.optim, lambda step: 0.0)
    state = init_state(config.model, tx, batch(), jax.random.key(0))
    weight = np.ones(CLASSES, np.float32)
    numbers = RunHyperparameters.of(c, jax.random.key(1), weight, 5)
    layout = devices.Layout.of(BATCH, members or None)
    if not members:
        placed = layout.place(state), layout.split(batch()), layout.place(numbers)
        return layout, jitted_step(config).lower(*placed).compile().as_text()
    states, all_numbers = (together.stacked(*[x] * members) for x in (state, numbers))
    lowered = together.together_step(config).lower(
        layout.place(states),
        layout.split(batch(members)),
        layout.place(all_numbers),
        layout.place(np.ones(members, bool)),
    )
    return layout, lowered.compile().as_text()


def _main() -> None:
    choose = lambda *streams, cpu, default: default(*streams)
    with mock.patch.object(recurrence.lax, "platform_dependent", choose):
        layout, text = compiled(int(sys.argv[2]))
    found = re.findall(rf" ({KINDS})(?:-start)?\(", text)
    print(json.dumps([layout.mesh.devices.shape, Counter(found)]))


if __name__ == "__main__":
    flag = f"--xla_force_host_platform_device_count={sys.argv[1]}"
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {flag}"
    _main()
