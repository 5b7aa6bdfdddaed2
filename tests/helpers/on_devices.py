"""Trains in a process of its own that pretends to have so many devices.

`python -m tests.helpers.on_devices '{...}'` takes the fields of `Work`.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from jser.config import Experiment
from jser.roots import Roots
from tests.helpers import tiny_corpus
from tests.helpers.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Work:
    """What a process trains, and as which of several."""

    folders: dict[str, str]  # Of `Roots`.
    stop_after: int | None = None
    members: int = 0  # So many together; 0 for one alone.
    coordinator: str = ""
    processes: int = 0
    index: int = 0


def experiment(seed: int = 0, batch_size: int = 16) -> Experiment:
    """Steps with short last batches, augmentation, stretching, dropout, a dev split."""
    c, per_epoch = tiny_corpus.experiment(), -(-36 // batch_size)
    c.name, c.seed, c.epochs = f"seed{seed}", seed, -(-50 // per_epoch)
    c.data.batch_size, c.data.shuffle_window = batch_size, 1
    c.augment.noise, c.augment.speed, c.augment.mixup = 0.1, 0.1, 0.2
    return c.check()


def start(devices: int, work: Work) -> subprocess.Popen:
    """Begins the work in a process of its own."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    flags = f"--xla_backend_optimization_level=0 {flag}"
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(work))],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(*started: subprocess.Popen) -> None:
    """Waits until the work is done."""
    for process in started:
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 0, said


def _main() -> None:
    from jser import devices
    from jser.training import together, train

    work = Work(**json.loads(sys.argv[1]))
    if work.coordinator:
        devices.join(work.coordinator, work.processes, work.index)
    roots = Roots(**{k: pathlib.Path(v) for k, v in work.folders.items()})
    if work.members:
        some = [experiment(seed, batch_size=4) for seed in range(work.members)]
        together.train_together(some, roots, stop_after=work.stop_after)
    else:
        train.train(experiment(), roots, stop_after=work.stop_after)


if __name__ == "__main__":
    _main()
