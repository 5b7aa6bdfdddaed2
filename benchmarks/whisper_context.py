"""Whisper's short context against its 30 s, layer by layer; docs/encoders.md quotes it.

    JSER_WHISPER_BASE=<folder> python benchmarks/whisper_context.py data/emodb

Every n-th sound of a table is encoded alone in both contexts, turn and turn about, when
all shapes are compiled. Of each layer's states: the cosine between the two, as a mean
over frames and its 5 % quantile; and that of their means over time, as a mean over
utterances.
"""

import argparse
import os
import pathlib
import time

import numpy as np

CONTEXTS: tuple[str, ...] = ("full", "short")


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / norms


def compare(folder: pathlib.Path, sounds: list[np.ndarray]) -> list[str]:
    """The table, in Markdown, and what both took."""
    from jser import encoders

    ways = {c: encoders.load(folder, layer="all", context=c) for c in CONTEXTS}
    for encode in ways.values():
        for x in {-(-len(x) // 16_000): x for x in sounds}.values():
            encode([x])
    taken = dict.fromkeys(CONTEXTS, 0.0)
    frames, means = [], []  # Cosines [T, L] and [L] of each utterance.
    for x in sounds:
        states = {}
        for context, encode in ways.items():
            began = time.process_time()
            (states[context],) = encode([x])
            taken[context] += time.process_time() - began
        full, short = (states[c].astype(np.float64) for c in CONTEXTS)
        frames.append(cosine(full, short))
        means.append(cosine(full.mean(0), short.mean(0)))
    every = np.concatenate(frames)
    columns = every.mean(0), np.quantile(every, 0.05, axis=0), np.mean(means, axis=0)
    seconds = ", ".join(f"{c} {s / len(sounds):.2f}" for c, s in taken.items())
    return [
        "| layer | cosine of a frame | its 5 % quantile | of the mean over time |",
        "|---|---|---|---|",
        *(
            f"| {i} | {' | '.join(f'{x:.4f}' for x in row)} |"
            for i, row in enumerate(np.stack(columns, 1))
        ),
        "",
        f"CPU seconds an utterance, of {len(sounds)}: {seconds}.",
    ]


def main() -> None:
    """Prints the table."""
    from jser import audio
    from jser.corpora import tables

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=pathlib.Path, help="from jser prepare")
    parser.add_argument("--every", type=int, default=8, help="every n-th sound")
    args = parser.parse_args()
    if not (folder := os.environ.get("JSER_WHISPER_BASE")):
        parser.error("JSER_WHISPER_BASE names no folder with Whisper's weights.")
    table = tables.read(args.table)
    sounds = [audio.load(table.audio_path(u)) for u in table.utterances[:: args.every]]
    print("\n".join(compare(pathlib.Path(folder), sounds)))


if __name__ == "__main__":
    main()
