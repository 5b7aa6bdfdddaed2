r"""UAR against layer: an SVM, the linear probe and the network on each layer alone.

    python -m benchmarks.layers --table data/emodb \
        --features whisper_base@all.trimmed.pooled \
        --figure benchmarks/results/emodb_layers.svg

By the folds of the table, pooled; one seed. Probe and network are the configs
`emodb_whisper_probe` and `emodb_whisper_fusion`, the SVM that of `benchmarks.svm`.
Which layer is best is seen here on the utterances that are scored: a choice made by
this table is a choice on the test set.
"""

import argparse
import pathlib

import numpy as np

from benchmarks import nested_choice, picture, svm
from jser import recipes
from jser.corpora import tables
from jser.data.corpus import open_corpus
from jser.features import store
from jser.report import charts
from jser.roots import Roots
from jser.statistics import metrics
from jser.training import compilation

_BELOW = (170, 128)  # Of the lines, which are highest in the middle.
NAMES = ("emodb_whisper_probe", "emodb_whisper_fusion")


def of_network(name: str, features: str, roots: Roots, corpus: str) -> list[float]:
    """UAR of a config on each layer of its stream alone."""
    config = recipes.load(name)
    config.data.corpus = corpus
    config.data.streams = dict.fromkeys(config.data.streams, features)
    opened = open_corpus(roots, config.check().data)
    (layers,) = {f.spec["layers"] for f in opened.streams.values()}
    rows = opened.table.select(config.data.train_split)
    label = np.array([opened.table.labels.index(u.emotion) for u in rows])
    found = []
    for layer in range(layers):
        alone, logits = nested_choice.in_memory(opened, layer), {}
        for fold in sorted({u.fold for u in rows if u.fold is not None}):
            logits |= nested_choice.heldout_logits(config, alone, (fold,))[0]
        predicted = np.array([logits[u.utt_id].argmax() for u in rows])
        scores = metrics.scores(label, predicted, len(opened.table.labels))
        found.append(scores["uar"])
    return found


def of_svm(table: tables.Table, folder: pathlib.Path) -> list[float]:
    """UAR of the SVM on each layer."""
    split = svm.open_split(table, folder, tables.CROSS_VALIDATED)
    x, found = svm.vectors(split), []
    for layer in range(x.shape[1]):
        said = svm.predictions(split, table.labels, x[:, layer])
        predicted, classes = said.logits.argmax(axis=1), len(table.labels)
        found.append(metrics.scores(said.label, predicted, classes)["uar"])
    return found


def main() -> None:
    """Prints the table, and draws it."""
    parser = argparse.ArgumentParser(description="UAR against layer.")
    parser.add_argument("--table", type=pathlib.Path, required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    parser.add_argument("--figure", type=pathlib.Path)
    a = parser.parse_args()
    compilation.enable_cache()
    corpus = a.table.resolve().name
    roots = Roots(data=a.table.resolve().parent, features=a.features_root)
    folder = store.dataset_folder(a.features_root, corpus, a.features)
    found = {"SVM": of_svm(tables.read(a.table), folder)}
    for name in NAMES:
        found[name] = of_network(name, a.features, roots, corpus)
    print("| layer |", " | ".join(found), "|")
    print("|---" * (1 + len(found)) + "|")
    for layer, row in enumerate(zip(*found.values(), strict=True)):
        print(f"| {layer} |", " | ".join(f"{x:.3f}" for x in row), "|")
    if a.figure:
        chart = charts.lines(
            {name: list(enumerate(ys)) for name, ys in found.items()},
            title="UAR against layer",
            x_label="layer",
            y_label="UAR",
        )
        a.figure.write_text(picture.alone(chart, list(found), _BELOW))


if __name__ == "__main__":
    main()
