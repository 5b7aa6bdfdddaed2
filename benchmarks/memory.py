"""Resident memory of a training run over a store that need not fit into memory.

  python -m benchmarks.memory           # 10 GB, 2,000 steps; 20 GB of disk for a while
  python -m benchmarks.memory --quick   # small; prints what says little

`jser.train` of a tiny network over generated frames, dev scores and checkpoints at each
epoch's end included, in a process of its own. The figures go to
benchmarks/results/memory.md and memory.svg, or to --out.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from unittest import mock

from absl import flags
import jax
import numpy as np

from benchmarks import generated, pages, picture
from jser.config import Data, Experiment, Model
from jser.report import charts
from jser.training.metrics_log import MetricWriter
from jser.training.train import train

RESULTS = pathlib.Path(__file__).parent / "results" / "memory.md"
SETTLED = 200  # Steps, until all shapes are compiled and buffers are full.
EVERY, BATCH = 50, 4

Point = tuple[int, float]  # A step, and MB after it.


def make(home: pathlib.Path, utterances: int, frames: int, width: int) -> None:
    """Generates one stream; utterances are windows of one long noise."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3 * frames, width), np.float32).astype(np.float16)
    spec = dataclasses.replace(generated.SPECS["speech"], width=width)

    def windows(count: int) -> list[np.ndarray]:
        return [noise[at : at + frames] for at in rng.integers(0, 2 * frames, count)]

    table = generated.make_table(home, utterances, seconds=frames / 50)
    generated.make_features(home, table, spec, windows)


def run(home: pathlib.Path, steps: int) -> list[Point]:
    """Trains in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--train", str(home)]
    command += ["--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [(step, mb) for step, mb in json.loads(done.stdout.splitlines()[-1])]


def _train_here(home: pathlib.Path, steps: int) -> None:
    """Notes the resident memory whenever the run writes a line."""
    points, write = [], MetricWriter.write

    def noting(self, step, scalars):
        write(self, step, scalars)
        points.append((step, resident_mb()))

    experiment = Experiment(
        name="member",
        data=Data(
            corpus=generated.CORPUS,
            streams={"speech": generated.SPECS["speech"].name},
            batch_size=BATCH,
        ),
        model=Model(hidden=8),
        epochs=steps,
        log_every=EVERY,
    )
    with mock.patch.object(MetricWriter, "write", noting):
        train(experiment, generated.roots_of(home), stop_after=steps)
    print(json.dumps(points))


def resident_mb() -> float:
    """Of this process, now."""
    status = pathlib.Path("/proc/self/status").read_text()
    now_kb = next(s for s in status.splitlines() if s.startswith("VmRSS")).split()[1]
    return int(now_kb) / 1024


def page(points: Sequence[Point], store_gb: float, utterances: int) -> str:
    """The results as Markdown."""
    late = [mb for step, mb in points if step > SETTLED] or [mb for _, mb in points]
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    lines = [
        "# Memory of training",
        "",
        f"`{' '.join(['python -m benchmarks.memory', *sys.argv[1:]])}`",
        "",
        f"A store of {store_gb:.1f} GB, {utterances:,} utterances;"
        f" {points[-1][0]:,} steps of {BATCH} utterances, with dev scores and a"
        f" checkpoint at each epoch's end. Resident memory after step {SETTLED}: from"
        f" {min(late):,.0f} to {max(late):,.0f} MB, the largest"
        f" **{max(late) / min(late):.2f}** times the smallest.",
        "",
        "![Resident memory against the step](memory.svg)",
        "",
        f"jax {jax.__version__}, Python {platform.python_version()},"
        f" {platform.machine()}, {cores} cores; load {load:.1f} at the end.",
    ]
    return "\n".join(lines) + "\n"


def drawn(points: Sequence[Point]) -> str:
    """The same as SVG, from no memory up."""
    series = {"resident memory": points, "none": [(0, 0.0)]}
    chart = charts.lines(
        series,
        title="Resident memory of a training run",
        x_label="step",
        y_label="MB",
    )
    return picture.alone(chart, ["resident memory"])


def main() -> None:
    """Parses flags, generates, trains, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=5_000)
    parser.add_argument("--frames", type=int, default=1_000, help="of an utterance")
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--train", type=pathlib.Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags.
    if a.train:
        return _train_here(a.train, a.steps)
    if a.quick:
        a.utterances, a.frames, a.width, a.steps = 600, 20, 16, 250
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        make(home, a.utterances, a.frames, a.width)
        points = run(home, a.steps)
    found = page(points, a.utterances * a.frames * a.width * 2 / 1e9, a.utterances)
    if a.quick and not a.out:
        print(found)
        return None
    pages.save(found, a.out or RESULTS, ("memory.svg", drawn(points)))
    return None


if __name__ == "__main__":
    main()
