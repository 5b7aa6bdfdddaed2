"""Writes a run's logits on a split: <workdir>/logits/<split>.npz.

python scripts/predict.py --workdir runs/demo_logmel_words --split test
"""

import pathlib

from absl import flags
import shared_flags

_WORKDIR = flags.DEFINE_string("workdir", None, "Of the run.", required=True)
_SPLIT = flags.DEFINE_string(
    "split", "dev", "Of the table; heldout for the folds that were held out."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "As in training by default.")


def main() -> None:
    from jser.statistics import metrics
    from jser.training import predict

    workdir, split = pathlib.Path(_WORKDIR.value), _SPLIT.value
    found = predict.predict(
        shared_flags.roots(), workdir, split, batch_size=_BATCH_SIZE.value
    )
    print(f"{workdir}/logits/{split}.npz: {len(found)} utterances")
    if (found.label >= 0).all():
        scores = metrics.scores(
            found.label, found.logits.argmax(axis=1), len(found.labels)
        )
        print(" ".join(f"{name} {value:.4f}" for name, value in scores.items()))


if __name__ == "__main__":
    shared_flags.run(main)
