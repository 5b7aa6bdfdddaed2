"""Races a training step of deep fusion against one of the paper's network.

  python -m benchmarks.deep            # hidden 512; minutes
  python -m benchmarks.deep --quick    # small; prints what says little

Both take turns in one process on equal padded batches; read the ratios, as other work
may run beside. The figures go to benchmarks/results/deep.md, or to --out.
"""

import argparse
from collections.abc import Sequence
import os
import pathlib
import sys

import jax

from benchmarks import ahead_parts, pages, sides, train_step
from benchmarks.ahead_text import Text
from benchmarks.sides import Shape
from jser.training.step import jitted_step

RESULTS = pathlib.Path(__file__).parent / "results" / "deep.md"
KINDS = ("deep", "fusion")
_HEAD = """\
| utterances x frames | network | parameters, millions | GFLOP a step | s a step |\
 times fusion's |
|---|---|---|---|---|---|"""


def rows(shape: Shape, rounds: int) -> list[str]:
    """Of a shape, a row for each network."""
    contestants, sizes, operations = {}, {}, {}
    for kind in KINDS:
        config, state, *rest = sides.set_up(shape, kind=kind)
        sizes[kind] = sum(x.size for x in jax.tree.leaves(state.params))
        compiled = jitted_step(config).lower(state, *rest).compile()
        operations[kind], _ = ahead_parts.cost(Text(compiled.as_text()))
        contestants[kind] = sides.running(compiled, state, *rest)
    found = train_step.race(contestants, rounds)
    frames = " + ".join(map(str, shape.frames))
    return [
        f"| {shape.batch} x {frames} | {kind} | {sizes[kind] / 1e6:.2f} |"
        f" {operations[kind] / 1e9:.3g} | {found.seconds(kind):.2f} |"
        f" **{1 if kind == 'fusion' else found.ratio('fusion'):.2f}** |"
        for kind in reversed(KINDS)
    ]


def report(shapes: Sequence[Shape], rounds: int) -> str:
    """The page."""
    load = os.getloadavg()[0]
    table = [row for shape in shapes for row in rows(shape, rounds)]
    return "\n".join(
        [
            "# Deep fusion beside the paper's network",
            "",
            f"`{' '.join(['python -m benchmarks.deep', *sys.argv[1:]])}`",
            "",
            f"A training step, forward, weighted cross-entropy, backward, AdamW; hidden"
            f" {shapes[0].hidden}, dropout in both, every frame real, float32."
            f" Operations are XLA's count for the compiled step, every round of a loop"
            f" counted. Both take turns; medians of {rounds} rounds, the ratio by"
            " round.",
            "",
            train_step.surroundings(load),
            "",
            _HEAD,
            *table,
            "",
        ]
    )


def main() -> None:
    """Parses flags, races, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="utterances")
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[150, 300], help="of speech"
    )
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=pathlib.Path)
    a = parser.parse_args()
    if a.quick:
        a.batch, a.frames, a.hidden, a.repeats = 2, [24], 32, 2
    tokens = train_step.TOKENS
    page = report(
        [Shape(a.batch, (T, tokens), a.hidden, neutral=False) for T in a.frames],
        a.repeats,
    )
    if a.quick and not a.out:
        print(page)
    else:
        pages.save(page, a.out or RESULTS)


if __name__ == "__main__":
    main()
