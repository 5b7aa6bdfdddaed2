r"""The line to beat: a linear SVM on pooled frames, by the folds of a table.

    python -m benchmarks.svm --table data/emodb --features whisper_base
    python -m benchmarks.svm --table data/emodb --features whisper_base --against \
        runs/mine runs/ensemble_mine/logits/average

An utterance is the mean and the standard deviation over time of its stored frames, a
vector for each layer where there are several, and all of them side by side; frames that
were pooled when they were stored are such vectors. Columns are scaled by the utterances
trained on. C is fixed: nothing is chosen. Each fold of the split is predicted by an SVM
of all others.
"""

import argparse
import pathlib

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from jser.corpora import tables
from jser.corpora.tables import Table
from jser.data.split import Split
from jser.ensemble import provenance
from jser.ensemble.logits import Logits
from jser.features import pooling, store
from jser.report import comparison, markdown
from jser.roots import HELDOUT
from jser.statistics import bootstrap, metrics

C = 0.01
_AT_ONCE = 64  # Utterances whose frames are read together.


def open_split(table: Table, features: pathlib.Path, split: str) -> Split:
    """The utterances of a split that have a fold, with their frames.

    Raises:
      ValueError: if there are fewer than two folds.
    """
    rows = [u for u in table.select(split) if u.fold is not None]
    if len({u.fold for u in rows}) < 2:
        raise ValueError(f"{table.folder}: {split} needs two folds to leave one out.")
    return Split.join(table, rows, {"frames": store.FeatureSet(features)})


def vectors(split: Split) -> np.ndarray:
    """Mean and deviation over time, [N, L, 2 D]; single frames stay, [N, L, D]."""
    is_pooled = split.length["frames"].max() == 1

    def vector(frames: np.ndarray) -> np.ndarray:
        x = frames.astype(np.float32).reshape(len(frames), -1, frames.shape[-1])
        if is_pooled:
            return x[0]
        return pooling.pool(x, pooling.POOLED)[0]

    rows = np.arange(len(split))
    chunks = [rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE)]
    return np.stack([vector(x) for some in chunks for x in split.read(some)["frames"]])


def predictions(split: Split, labels: tuple[str, ...], x: np.ndarray) -> Logits:
    """What an SVM on the vectors x [N, D] of the other folds predicts of each fold.

    Its logits are 1 for what is predicted and 0 for the rest.
    """
    fold = np.array([u.fold for u in split.utterances])
    predicted = np.empty_like(split.label)
    for k in np.unique(fold):
        svm = make_pipeline(StandardScaler(), SVC(kernel="linear", C=C))
        svm.fit(x[fold != k], split.label[fold != k])
        predicted[fold == k] = svm.predict(x[fold == k])
    return Logits(
        utt_id=np.array([u.utt_id for u in split.utterances]),
        logits=np.eye(len(labels), dtype=np.float32)[predicted],
        label=split.label,
        fold=fold,
        speaker=np.array([u.speaker for u in split.utterances]),
        in_sample=np.zeros(len(fold), bool),
        speaker_seen=np.zeros(len(fold), bool),
        labels=np.array(labels),
        made_by=np.array(["svm"]),
    )


def describe(logits: Logits) -> str:
    """All scores with their intervals, over speakers if there are five, in a line."""
    predicted, classes = logits.logits.argmax(axis=1), len(logits.labels)
    scores = metrics.scores(logits.label, predicted, classes)
    bounds = bootstrap.interval(
        logits.label, predicted, classes, cluster=comparison.cluster(logits)
    )
    cells = [f"{s} {scores[s]:.3f} [{a:.3f}, {b:.3f}]" for s, (a, b) in bounds.items()]
    return ", ".join(cells)


def theirs(place: pathlib.Path, split: str) -> Logits:
    """Out-of-fold logits of a run, or those that an ensemble combined.

    Args:
      place: Folder of a run with one below it for each fold held out; or one below an
        ensemble's `logits/`.
      split: The split that the folds are of.

    Raises:
      FileNotFoundError: if there are none.
    """
    paths = sorted(place.glob(f"holdout_*/logits/{HELDOUT}.npz"))
    of_one_fold = [p for p in paths if p.parts[-3].count("_") == 1]
    if not of_one_fold:
        return provenance.load(place / f"{split}.npz")
    return Logits.concatenate([provenance.load(p) for p in of_one_fold])


def main() -> None:
    """Prints the scores of each layer, and what other systems gain over it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=pathlib.Path, required=True)
    parser.add_argument("--features", required=True, help="name of a front end")
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    parser.add_argument("--split", default=tables.CROSS_VALIDATED)
    parser.add_argument("--against", type=pathlib.Path, nargs="*", default=[])
    a = parser.parse_args()
    table, corpus = tables.read(a.table), a.table.resolve().name
    folder = store.dataset_folder(a.features_root, corpus, a.features)
    split = open_split(table, folder, a.split)
    others = [(place, theirs(place, a.split)) for place in a.against]
    x = vectors(split)
    columns = {f"layer {i} of {x.shape[1]}": x[:, i] for i in range(x.shape[1])}
    if len(columns) > 1:
        columns["all side by side"] = x.reshape(len(x), -1)
    for name, of_layer in columns.items():
        ours = predictions(split, table.labels, of_layer)
        print(f"{name}: {describe(ours)}")
        for place, logits in others:
            gains = comparison.of(ours, logits)["scores"].items()
            for score, gain in gains:
                print(f"  {score} of {place}: {markdown.difference(gain)}")


if __name__ == "__main__":
    main()
