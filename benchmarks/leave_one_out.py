r"""What configs score by leaving out one fold at a time, each against the first.

    python -m benchmarks.leave_one_out emodb_whisper_fusion \
        "emodb_whisper_fusion;data.standardize=()" ...

As `jser run` trains and predicts them, one seed, without leaving anything on disk. It
looks at the folds that are scored: what is chosen by it is chosen on the test set.
`benchmarks.nested_choice` chooses without. Fields are set as there.
"""

import argparse
import pathlib

import numpy as np

from benchmarks import nested_choice
from jser.data.corpus import open_corpus
from jser.roots import Roots
from jser.statistics import bootstrap, metrics
from jser.training import compilation


def main() -> None:
    """Prints a row for each config, as soon as it is known."""
    parser = argparse.ArgumentParser(description="Leave-one-fold-out scores.")
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--folds", default="", help="only these, as 0,1")
    parser.add_argument("--data_root", type=pathlib.Path, default="data")
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    args = parser.parse_args()
    compilation.enable_cache()
    roots, first = Roots(data=args.data_root, features=args.features_root), None
    print("| config | macro-F1 | UAR | accuracy | UAR against the first |")
    print("|---|---|---|---|---|")
    for text in args.configs:
        config = nested_choice.candidate(text)
        corpus = nested_choice.in_memory(open_corpus(roots, config.data))
        rows, logits = corpus.split(config.data.train_split), {}
        there = sorted({u.fold for u in rows.utterances if u.fold is not None})
        wanted = [int(f) for f in filter(None, args.folds.split(","))] or there
        for fold in wanted:
            logits |= nested_choice.heldout_logits(config, corpus, (fold,))[0]
        said = np.array([u.utt_id in logits for u in rows.utterances])
        scored = [u for u in rows.utterances if u.utt_id in logits]
        predicted = np.array([logits[u.utt_id].argmax() for u in scored])
        label, speaker = rows.label[said], np.array([u.speaker for u in scored])
        classes = len(corpus.table.labels)
        scores = metrics.scores(label, predicted, classes)
        drawn = bootstrap.interval(label, predicted, classes, cluster=speaker)
        cells = [
            f"{scores[s]:.3f} [{drawn[s][0]:.3f}, {drawn[s][1]:.3f}]"
            for s in ("macro_f1", "uar", "accuracy")
        ]
        gain = ""
        if first is None:
            first = predicted
        else:
            compared = bootstrap.compare(
                label, first, predicted, classes, cluster=speaker
            )["uar"]
            low, high = compared.interval
            gain = f"{compared.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"| {text} | {' | '.join(cells)} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
