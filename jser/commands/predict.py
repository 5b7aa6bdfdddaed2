"""Writes a run's logits on a split: <workdir>/logits/<split>.npz.

jser predict --workdir runs/demo_logmel_words --split test
"""

import pathlib

from jser.commands.shared_flags import RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_WORKDIR = FLAGS.required("workdir", "Of the run.")
_SPLIT = FLAGS.string(
    "split", "dev", "Of the table; heldout for the folds that were held out."
)
_BATCH_SIZE = FLAGS.integer("batch_size", 0, "0 for that of training.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    from jser.statistics import metrics
    from jser.training import predict

    workdir, split = pathlib.Path(_WORKDIR.value), _SPLIT.value
    logits = predict.predict(_ROOTS.value, workdir, split, batch_size=_BATCH_SIZE.value)
    print(f"{workdir}/logits/{split}.npz: {len(logits)} utterances")
    if (logits.label >= 0).all():
        scores = metrics.scores(
            logits.label, logits.logits.argmax(axis=1), len(logits.labels)
        )
        print(" ".join(f"{name} {value:.4f}" for name, value in scores.items()))
