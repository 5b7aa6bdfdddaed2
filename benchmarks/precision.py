"""An encoder in float32 against bfloat16, turn and turn about, on the same sounds.

    JSER_WHISPER_BASE=<folder> python benchmarks/precision.py data/emodb --every 16

A CPU multiplies bfloat16 fast where /proc/cpuinfo has amx_bf16, and slowly elsewhere.
Of every n-th sound of a table, with short context, all shapes compiled: processor and
wall seconds an utterance as medians of the turns, and how far the states are off,
relative root mean square by layer.
"""

import argparse
import os
import pathlib
import statistics
import time

import numpy as np

DTYPES = ("float32", "bfloat16")


def compare(folder: pathlib.Path, sounds: list[np.ndarray], turns: int) -> list[str]:
    """The table, in Markdown, and how far bfloat16 is off."""
    from jser import encoders

    ways = {
        dtype: encoders.load(folder, layer="all", dtype=dtype, context="short")
        for dtype in DTYPES
    }
    states = {dtype: encode(sounds) for dtype, encode in ways.items()}  # Compiles.
    wall, cpu = ({dtype: [] for dtype in DTYPES} for _ in range(2))
    for _ in range(turns):
        for dtype, encode in ways.items():
            before = time.perf_counter(), time.process_time()
            encode(sounds)
            wall[dtype].append((time.perf_counter() - before[0]) / len(sounds))
            cpu[dtype].append((time.process_time() - before[1]) / len(sounds))
    rows = ["| dtype | CPU s an utterance | wall s | speed by CPU, by wall |"]
    rows.append("|---|---|---|---|")
    for dtype in DTYPES:
        taken = [statistics.median(t[dtype]) for t in (cpu, wall)]
        gain = [statistics.median(t["float32"]) for t in (cpu, wall)]
        gain = [f"{a / b:.2f}x" for a, b in zip(gain, taken, strict=True)]
        rows.append(
            f"| {dtype} | {taken[0]:.3f} | {taken[1]:.3f} | {', '.join(gain)} |"
        )
    both = (np.concatenate(states[dtype]) for dtype in DTYPES)
    want, got = (x.astype(np.float64) for x in both)
    off = np.sqrt(np.square(got - want).mean((0, 2)) / np.square(want).mean((0, 2)))
    told = ", ".join(f"{x:.1%}" for x in off)
    return [
        *rows,
        "",
        f"Off by layer: {told}. {len(sounds)} utterances, {turns} turns.",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="float32 against bfloat16.")
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    from jser import audio
    from jser.corpora import tables

    table = tables.read(args.table)
    paths = [table.audio_path(u) for u in table.utterances[:: args.every]]
    folder = pathlib.Path(os.environ["JSER_WHISPER_BASE"])
    print("\n".join(compare(folder, [audio.load(p) for p in paths], args.turns)))


if __name__ == "__main__":
    main()
