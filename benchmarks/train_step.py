"""Races one training step against the authors' network in PyTorch.

  python -m benchmarks.train_step            # hidden 512, 64 utterances; many minutes
  python -m benchmarks.train_step --quick    # small; prints what says little

Both sides alternate in one process, on all of its cores, on equal padded batches; read
the ratios, as other work may run beside. The figures go to
benchmarks/results/train_step.md, or to --out; those of a GPU are accelerator.py's.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import jax
import torch

from benchmarks import pages, picture, sides
from benchmarks.sides import Shape
from jser.report import charts

RESULTS = pathlib.Path(__file__).parent / "results" / "train_step.md"
TOKENS = 80  # As the authors' text streams.
PROSODY = 1.6  # Frames of prosody to one of speech: 80 Hz to 50 Hz.


@dataclasses.dataclass
class Race:
    """Seconds a step by side; the first side is the one the others are divided into."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def seconds(self, side: str) -> float:
        """Median wall time."""
        return statistics.median(self.wall[side])

    def ratio(self, side: str, clock: str = "wall") -> float:
        """How often `side` fits into the first one: median over the rounds."""
        taken = getattr(self, clock)
        first = next(iter(taken.values()))
        return statistics.median(a / b for a, b in zip(first, taken[side], strict=True))


def race(contestants: dict[str, sides.Side], rounds: int) -> Race:
    """Runs the sides in turn, after one step of each that does not count."""
    result = Race({s: [] for s in contestants}, {s: [] for s in contestants})
    for side in contestants.values():
        side()
    for _ in range(rounds):
        for name, side in contestants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            result.wall[name].append(time.perf_counter() - wall)
            result.cpu[name].append(time.process_time() - cpu)
    return result


def steps(shapes: Sequence[Shape], rounds: int) -> list[str]:
    """Rows of the main table."""
    rows = []
    for shape in shapes:
        ours, compiling_s = sides.ours(shape)
        found = race({"torch": sides.theirs(shape), "jser": ours}, rounds)
        del ours
        memory = {side: peak_mb(side, shape) for side in ("torch", "jser")}
        rows.append(
            f"| {_name(shape)} | {found.seconds('torch'):.2f} |"
            f" {found.seconds('jser'):.2f} | **{found.ratio('jser'):.2f}** |"
            f" {found.ratio('jser', 'cpu'):.2f} | {memory['torch']:,} |"
            f" {memory['jser']:,} | {compiling_s:.1f} |"
        )
        print(rows[-1], flush=True)
    return rows


def precisions(shape: Shape, rounds: int) -> list[str]:
    """Both sides in float32 and in bfloat16, PyTorch's by autocast."""
    found = race(
        {
            "torch float32": sides.theirs(shape),
            "torch bfloat16": sides.theirs(shape, dtype="bfloat16"),
            "jser float32": sides.ours(shape)[0],
            "jser bfloat16": sides.ours(shape, "bfloat16")[0],
        },
        rounds,
    )
    return [
        f"| utterances x frames: {_name(shape)} | s | times the first | by CPU time |",
        "|---|---|---|---|",
        *(
            f"| {side} | {found.seconds(side):.2f} | {found.ratio(side):.2f} |"
            f" {found.ratio(side, 'cpu'):.2f} |"
            for side in found.wall
        ),
    ]


def peak_mb(side: str, shape: Shape) -> int:
    """Peak resident memory of a process that takes two steps, compilation included."""
    what = json.dumps([side, dataclasses.asdict(shape)])
    command = [sys.executable, "-m", "benchmarks.train_step", "--peak", what]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(out.split()[-1])


def _print_peak(what: str) -> None:
    name, fields = json.loads(what)
    shape = Shape(**(fields | {"frames": tuple(fields["frames"])}))
    side = sides.theirs(shape) if name == "torch" else sides.ours(shape)[0]
    side()
    side()
    status = pathlib.Path("/proc/self/status").read_text()
    peak_kb = next(s for s in status.splitlines() if s.startswith("VmHWM")).split()[1]
    print(int(peak_kb) // 1024)


Point = tuple[str, Shape, float]  # What grows, a shape, seconds a step.


def growth(shape: Shape, rounds: int) -> list[Point]:
    """Our time along frames, utterances and streams."""
    B, (T, *rest) = shape.batch, shape.frames
    shape = dataclasses.replace(shape, neutral=False)
    along = {
        "frames": [
            dataclasses.replace(shape, frames=(n * T // 4, *rest)) for n in (1, 2, 4)
        ],
        "utterances": [dataclasses.replace(shape, batch=n * B // 4) for n in (1, 2, 4)],
        "streams": [
            dataclasses.replace(shape, frames=(T // 4,) * n) for n in (1, 2, 3)
        ],
    }
    distinct = {_name(s): s for shapes in along.values() for s in shapes}
    contestants = {name: sides.ours(s)[0] for name, s in distinct.items()}
    found = race(contestants, rounds)
    return [
        (what, s, found.seconds(_name(s))) for what, all_ in along.items() for s in all_
    ]


def growth_table(points: Sequence[Point]) -> list[str]:
    """Rows: time per utterance."""
    return [
        f"| {what} | {_name(s)} | {1000 * seconds / s.batch:.2f} |"
        for what, s, seconds in points
    ]


def growth_picture(points: Sequence[Point]) -> str:
    """The same as SVG: a line each for frames, utterances and streams."""
    sizes = {
        "frames": lambda s: s.frames[0],
        "utterances": lambda s: s.batch,
        "streams": lambda s: len(s.frames),
    }
    series = {
        what: [
            (sizes[what](s) / sizes[what](largest), seconds)
            for w, s, seconds in points
            if w == what
        ]
        for what, largest, _ in points  # The last of a kind is the largest.
    }
    chart = charts.lines(
        series,
        title="Time of a training step as the batch grows",
        x_label="size, as a share of the largest",
        y_label="seconds a step",
    )
    return picture.alone(chart, list(series))


def _name(shape: Shape) -> str:
    return f"{shape.batch} x {' + '.join(map(str, shape.frames))}"


def surroundings(load: float) -> str:
    """Versions, processor, cores and the load before and after."""
    return (
        f"Python {platform.python_version()}, jax {jax.__version__}, PyTorch"
        f" {torch.__version__}, {jax.devices()[0].device_kind};"
        f" {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads in"
        f" PyTorch; load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end."
    )


def report(a: argparse.Namespace) -> tuple[str, str]:
    """Runs everything and returns the page and its picture."""
    began_under = os.getloadavg()[0]
    shapes = [Shape(a.batch, (T, a.tokens), a.hidden) for T in a.frames]
    if a.trimodal:
        T = a.trimodal
        three = (T, a.tokens, round(PROSODY * T))
        shapes.append(Shape(max(1, a.batch // 4), three, a.hidden))
    main = steps(shapes, a.repeats)
    small = Shape(max(4, a.batch // 4), (a.frames[0], a.tokens), a.hidden)
    grown = growth(small, a.repeats)
    page = "\n".join(
        [
            "# One training step",
            "",
            f"`{' '.join(['python -m benchmarks.train_step', *sys.argv[1:]])}`",
            "",
            "Forward, loss (weighted cross-entropy and soft margin), backward, AdamW;"
            f" hidden {a.hidden}, dropout 0.5, every frame real. The authors' network"
            " in PyTorch, float32, and ours take turns; medians of"
            f" {a.repeats} rounds, ratios by round. Peak memory is that of a process"
            " that takes two steps, ours with its compiler.",
            "",
            surroundings(began_under),
            "",
            "| utterances x frames of each stream | torch, s | jser, s | ratio |"
            " ratio of CPU time | torch, peak MB | jser, peak MB | compiling, CPU s |",
            "|---|---|---|---|---|---|---|---|",
            *main,
            "",
            "## Growth",
            "",
            "Ours. With more frames an utterance's time grows with them, with more"
            " utterances it falls to a floor, with more streams it grows with their"
            " pairs.",
            "",
            "| along | utterances x frames | ms an utterance |",
            "|---|---|---|",
            *growth_table(grown),
            "",
            "![Seconds a step against the size](train_step.svg)",
            "",
        ]
    )
    return page, growth_picture(grown)


def main() -> None:
    """Parses flags, races, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="utterances")
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[150, 300, 546], help="of speech"
    )
    parser.add_argument("--tokens", type=int, default=TOKENS, help="frames of text")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument(
        "--trimodal",
        type=int,
        default=150,
        help="frames of speech in the race of three streams, of a quarter of the"
        " batch; 0 leaves it out",
    )
    parser.add_argument(
        "--cores", type=int, help="that both may use; 1 where the machine is shared"
    )
    parser.add_argument(
        "--precisions", action="store_true", help="only print bfloat16's race"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: a.cores])
        torch.set_num_threads(a.cores)
    if a.peak:
        return _print_peak(a.peak)
    if a.quick:
        a.batch, a.frames, a.tokens, a.hidden = 8, [24], 8, 32
        a.repeats, a.trimodal = 3, 16
    if a.precisions:
        for T in a.frames:
            shape = Shape(a.batch, (T, a.tokens), a.hidden)
            print("\n".join(precisions(shape, a.repeats)))
        return None
    page, drawn = report(a)
    if a.quick and not a.out:
        print(page)
        return None
    pages.save(page, a.out or RESULTS, ("train_step.svg", drawn))
    return None


if __name__ == "__main__":
    main()
