"""Seconds and peak memory of what reads whole corpora, as these grow tenfold.

  python -m benchmarks.scale           # 1,000, 10,000 and 100,000 utterances
  python -m benchmarks.scale --quick   # small; prints what says little

Reading a table; opening and joining a corpus of two streams; twenty training steps of
a tiny network, with opening and compiling; combining twelve members by forests over
out-of-fold logits; scoring the ensemble and drawing its report. All of it is generated:
frames of a few steps, logits of some skill. Every measurement is of a process of its
own. The figures go to benchmarks/results/scale.md, or to --out.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

from absl import flags
import jax
import numpy as np
import sklearn

from benchmarks import generated, pages
from jser import recipes
from jser.config import Data, Ensemble, Experiment, Model
from jser.corpora import tables
from jser.data.corpus import open_corpus
from jser.ensemble.combine import combine
from jser.ensemble.out_of_fold import plan
from jser.report import page, subjects
from jser.roots import Roots
from jser.training.train import train
from tests.helpers import finished_runs

RESULTS = pathlib.Path(__file__).parent / "results" / "scale.md"
MEMBERS, FRAMES, STEPS = 12, 4, 20


def member() -> Experiment:
    """A small network on both streams."""
    streams = {s: spec.name for s, spec in generated.SPECS.items()}
    return Experiment(
        name="member",
        data=Data(corpus=generated.CORPUS, streams=streams, batch_size=32),
        model=Model(hidden=8),
        epochs=1,
    )


def ensemble() -> Ensemble:
    """Seeds of it, combined by forests."""
    seeds = recipes.seeds(member(), range(MEMBERS))
    return Ensemble(name="ensemble", members=seeds, stacker="oof").check()


def make(home: pathlib.Path, count: int) -> None:
    """Generates a corpus, and the runs of an ensemble as if they had been trained."""
    table, rng = generated.make_table(home, count), np.random.default_rng(0)
    for spec in generated.SPECS.values():
        shape = (FRAMES, spec.width)
        draw = lambda n, shape=shape: rng.standard_normal((n, *shape), np.float32)
        generated.make_features(home, table, spec, draw)
    finished_runs.make(plan(ensemble(), table), table, generated.roots_of(home))


def _read(roots: Roots) -> None:
    tables.read(roots.data / generated.CORPUS)


def _open(roots: Roots) -> None:
    open_corpus(roots, member().data).train()


def _train(roots: Roots) -> None:
    train(member(), roots, stop_after=STEPS)


def _stack(roots: Roots) -> None:
    combine(ensemble(), roots)


def _report(roots: Roots) -> None:
    page.write(subjects.of_ensemble(ensemble(), roots), roots.runs / "ensemble")


STAGES: dict[str, Callable[[Roots], None]] = {
    "read a table": _read,
    "open and join a corpus": _open,
    f"{STEPS} training steps": _train,
    "stack": _stack,  # Before "report", which reads what it leaves.
    "report": _report,
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a stage took at a size."""

    stage: str
    utterances: int
    seconds: float
    cpu_s: float  # Of all threads: other work on the machine hardly changes it.
    peak_mb: int


def measure(stage: str, home: pathlib.Path, count: int) -> Measured:
    """Runs a stage in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", stage, str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = Measured(stage, count, *json.loads(done.stdout.splitlines()[-1]))
    print(_cells(found), flush=True)
    return found


def _measure_here(stage: str, home: str) -> None:
    roots, cpu = generated.roots_of(pathlib.Path(home)), time.process_time()
    began = time.perf_counter()
    STAGES[stage](roots)
    taken = time.perf_counter() - began, time.process_time() - cpu
    # Not `ru_maxrss`: a process inherits that of the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    peak_kb = next(s for s in status.splitlines() if s.startswith("VmHWM")).split()[1]
    print(json.dumps([*taken, int(peak_kb) // 1024]))


def table_of(found: Sequence[Measured]) -> list[str]:
    """Rows of the page, by stage; with the growth since the size before."""
    rows = []
    for stage in dict.fromkeys(m.stage for m in found):
        mine = sorted((m for m in found if m.stage == stage), key=_utterances)
        for before, m in zip([None, *mine[:-1]], mine, strict=True):
            growth = "| | | " if before is None else _growth(before, m)
            rows.append(f"{_cells(m)}{growth}|")
    return rows


def _utterances(m: Measured) -> int:
    return m.utterances


def _cells(m: Measured) -> str:
    return (
        f"| {m.stage} | {m.utterances:,} | {m.seconds:.1f} | {m.cpu_s:.1f} |"
        f" {m.peak_mb:,} "
    )


def _growth(before: Measured, now: Measured) -> str:
    """Times CPU time and peak memory, and the slope of the former in log-log."""
    times = now.cpu_s / max(before.cpu_s, 1e-3)
    slope = math.log(times) / math.log(now.utterances / before.utterances)
    memory = now.peak_mb / before.peak_mb
    return f"| {times:.1f} | {slope:.2f} | {memory:.1f} "


def report(sizes: Sequence[int], home: pathlib.Path) -> str:
    """Measures everything and returns the page."""
    began_under, found = os.getloadavg()[0], []
    for count in sizes:
        make(home / str(count), count)
        found += [measure(stage, home / str(count), count) for stage in STAGES]
    return page_of(found, began_under)


def page_of(found: Sequence[Measured], began_under: float) -> str:
    """The results as Markdown."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    lines = [
        "# Scale",
        "",
        f"`{' '.join(['python -m benchmarks.scale', *sys.argv[1:]])}`",
        "",
        f"Every line is of a process of its own. Two streams of {FRAMES} frames of"
        f" {generated.SPECS['speech'].width} an utterance, {generated.SPEAKS}"
        f" utterances a speaker, 8 classes; {MEMBERS} members, five folds, `oof`. The"
        " classes are alike in size, which is the worst case: of others a forest draws"
        " as many rows of each as the rarest has."
        f" The {STEPS} steps are of {member().data.batch_size} utterances each and"
        " include opening, compiling, and what a run writes at its start. Growth is"
        " since the line above: of CPU time, its slope in log-log (1 is linear), and of"
        " peak memory, to which libraries contribute"
        " some hundred MB at any size.",
        "",
        f"Python {platform.python_version()}, NumPy {np.__version__}, jax"
        f" {jax.__version__}, scikit-learn {sklearn.__version__},"
        f" {platform.machine()}, {cores} cores; load {began_under:.1f} at the start,"
        f" {load:.1f} at the end, so other work"
        f" {'ran' if load > cores + 1 else 'hardly ran'} beside: read the CPU time.",
        "",
        "| what | utterances | s | CPU s | peak MB | times CPU s | slope |"
        " times peak MB |",
        "|---|---|---|---|---|---|---|---|",
        *table_of(found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parses flags, measures, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [1_000, 10_000, 100_000]
    parser.add_argument("--utterances", type=int, nargs="+", default=sizes)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags.
    if a.measure:
        return _measure_here(*a.measure)
    if a.quick:
        a.utterances = [1_000, 2_000]
    with tempfile.TemporaryDirectory() as home:
        found = report(a.utterances, pathlib.Path(home))
    if a.quick and not a.out:
        print(found)
        return None
    pages.save(found, a.out or RESULTS)
    return None


if __name__ == "__main__":
    main()
