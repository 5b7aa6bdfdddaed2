"""What adaptation gains from one corpus to another, by number of recordings.

    python -m benchmarks.adaptation data/emodb data/urdu --frontend whisper_base

Pooled features (mean and standard deviation over time of each column; frames that are
pooled already as they are), StandardScaler, linear SVM (C = 0.003), trained on the
shared emotions of the first table and scored on those of the second. Columns are scaled
by nobody's, by the target's, or by each speaker's unlabelled statistics, the training
side likewise; or centred on n other recordings of the speaker, drawn ten times, with
the training speakers' mean deviation. docs/cross_corpus.md quotes it.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np
from sklearn import svm

from jser.corpora import tables
from jser.features import pooling, store
from jser.statistics import bootstrap, metrics

COUNTS: tuple[int, ...] = (1, 2, 4, 8, 32)
DRAWS = 10
FEWEST_SPEAKERS = 5  # An interval over fewer says nothing.


@dataclasses.dataclass(frozen=True)
class Pooled:
    """A corpus: a vector for each utterance."""

    x: np.ndarray  # Float64, N D.
    emotion: np.ndarray  # Str, N; "" where not known.
    speaker: np.ndarray  # Str, N.

    @classmethod
    def read(cls, folder: pathlib.Path, features: pathlib.Path, front_end: str):
        """Of a table and its features."""
        table = tables.read(folder)
        name = folder.resolve().name
        frames = store.FeatureSet(store.dataset_folder(features, name, front_end))
        rows = [u for u in table.utterances if u.utt_id in frames.record]
        if unknown := [u.utt_id for u in rows if not u.speaker]:
            raise SystemExit(f"{folder}: no speaker is known of {unknown[0]!r}.")
        vectors = []
        for u in rows:
            (x,) = frames.read(np.array([frames.record[u.utt_id]]))
            vectors.append(pooled(x, is_pooled=frames.length.max() == 1))
        columns = ([getattr(u, c) for u in rows] for c in ("emotion", "speaker"))
        return cls(np.array(vectors), *map(np.array, columns))


def pooled(frames: np.ndarray, *, is_pooled: bool) -> np.ndarray:
    """One vector of frames [T, ...]."""
    x = frames.reshape(len(frames), -1).astype(np.float64)
    return x[0] if is_pooled else pooling.pool(x, pooling.POOLED)[0]


def scaled(x: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1 over all rows, or over each group."""
    if group is None:
        return (x - x.mean(axis=0)) / deviation(x)
    out = np.empty_like(x)
    for name in np.unique(group):
        out[group == name] = scaled(x[group == name])
    return out


def deviation(x: np.ndarray) -> np.ndarray:
    """Of the columns; 1 where they never change."""
    found = x.std(axis=0)
    return np.where(found > 1e-6, found, 1.0)


def centred(
    target: Pooled, source: Pooled, n: int, rng: np.random.Generator
) -> np.ndarray:
    """The target less the mean of `n` other recordings of the speaker.

    Those who have fewer give all; whoever has one alone gives the target's mean.
    """
    out = np.empty_like(target.x)
    for i, who in enumerate(target.speaker):
        others = np.flatnonzero(target.speaker == who)
        others = others[others != i]
        drawn = rng.permutation(others)[:n] if len(others) else slice(None)
        out[i] = target.x[i] - target.x[drawn].mean(axis=0)
    by_speaker = [deviation(source.x[source.speaker == s]) for s in set(source.speaker)]
    return out / np.mean(by_speaker, axis=0)


def compare(source: Pooled, target: Pooled) -> list[str]:
    """The table, in Markdown, and what it is of."""
    labels = sorted(set(source.emotion) & set(target.emotion) - {""})
    known, told = (np.isin(c.emotion, labels) for c in (source, target))
    true = np.searchsorted(labels, target.emotion[told])
    speaker = target.speaker[told]
    enough = len(set(speaker)) >= FEWEST_SPEAKERS

    def answers(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        machine = svm.SVC(kernel="linear", C=0.003)
        mean, spread = train[known].mean(axis=0), deviation(train[known])
        machine.fit((train[known] - mean) / spread, source.emotion[known])
        answered = machine.predict((test[told] - mean) / spread)
        return np.searchsorted(labels, answered)

    def uar(predicted: np.ndarray) -> float:
        return metrics.scores(true, predicted, len(labels))["uar"]

    def row(name: str, train: np.ndarray, test: np.ndarray) -> str:
        predicted = answers(train, test)
        cluster = speaker if enough else None
        low, high = bootstrap.interval(true, predicted, len(labels), cluster=cluster)[
            "uar"
        ]
        return f"| {name} | {uar(predicted):.3f} [{low:.3f}, {high:.3f}] |"

    by_speaker = scaled(source.x, source.speaker)
    rows = [
        row("none", source.x, target.x),
        row("target (transductive)", scaled(source.x), scaled(target.x)),
        row("speaker (transductive)", by_speaker, scaled(target.x, target.speaker)),
    ]
    rng = np.random.default_rng(0)
    for n in COUNTS:
        drawn = [
            uar(answers(by_speaker, centred(target, source, n, rng)))
            for _ in range(DRAWS)
        ]
        name = f"{n} other recording{'s' * (n > 1)} of the speaker"
        rows.append(f"| {name} | {np.mean(drawn):.3f} ± {np.std(drawn, ddof=1):.3f} |")
    return [
        "| scaled by | UAR |",
        "|---|---|",
        *rows,
        "",
        *_about(labels, target, told),
    ]


def _about(labels: Sequence[str], target: Pooled, told: np.ndarray) -> list[str]:
    """What the figures are of, and how even speakers' emotions are."""
    counts = [
        np.unique(target.emotion[told & (target.speaker == s)], return_counts=True)[1]
        for s in np.unique(target.speaker[told])
    ]
    most = sum(c.max() for c in counts) / told.sum()
    return [
        f"{told.sum()} utterances of {len(counts)} speakers; {', '.join(labels)}, by"
        f" chance {1 / len(labels):.3f}. In brackets the 95 % interval over speakers; ±"
        f" is over draws. Whoever knows each speaker's commonest emotion is right on"
        f" {most:.0%}; if all were alike, on {1 / len(labels):.0%}."
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=pathlib.Path, help="table to train on")
    parser.add_argument("target", type=pathlib.Path, help="table to score on")
    parser.add_argument("--frontend", required=True, help="stored of both")
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    args = parser.parse_args()
    both = (
        Pooled.read(folder, args.features_root, args.frontend)
        for folder in (args.source, args.target)
    )
    print("\n".join(compare(*both)))


if __name__ == "__main__":
    main()
