"""Writes a run's logits on a split: <workdir>/logits/<split>.npz.

  jser predict --workdir runs/demo_logmel_words --split test

Or on another table, by features of the same front ends, as logits/other/all.npz:

  jser predict --workdir runs/x --table data/other --split all --merge calm=neutral
"""

import pathlib

from jser.commands.shared_flags import MergeFlag, RootFlags, adapt_flag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_WORKDIR = FLAGS.required("workdir", "Of the run.")
_SPLIT = FLAGS.string(
    "split", "dev", "Of the table; heldout for the folds that were held out, or all."
)
_BATCH_SIZE = FLAGS.integer("batch_size", 0, "0 for that of training.")
_TABLE = FLAGS.optional("table", "Another table than the run's: data/other.")
_MERGE = MergeFlag(FLAGS, "Emotions of --table to count as the run's: calm=neutral.")
_ADAPT = adapt_flag(FLAGS)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    merge = _MERGE.value
    if merge and not _TABLE.value:
        raise ValueError("--merge: only emotions of another --table can be merged.")
    from jser.ensemble import run_config
    from jser.ensemble.logits import path_of
    from jser.statistics import metrics
    from jser.training import predict, tuned

    workdir, split, roots = pathlib.Path(_WORKDIR.value), _SPLIT.value, _ROOTS.value
    if roots.weights:
        tuned.refuse_unread([run_config.read(workdir)[0]], roots.weights)
    logits = predict.predict(
        roots,
        workdir,
        split,
        batch_size=_BATCH_SIZE.value,
        table=pathlib.Path(_TABLE.value) if _TABLE.value else None,
        merge=merge,
        adapt=_ADAPT.value,
    )
    path = path_of(workdir, split, table=logits.table, adapt=logits.adapt)
    print(f"{path}: {len(logits)} utterances")
    if _TABLE.value:
        from jser.corpora import tables
        from jser.report import other_tables

        table, labels = tables.read(pathlib.Path(_TABLE.value)), logits.occurring()
        print("\n".join(other_tables.notes(split, logits, table, labels)))
        logits = logits.among(labels)
    if len(logits) and (logits.label >= 0).all():
        scores = metrics.scores(
            logits.label, logits.logits.argmax(axis=1), len(logits.labels)
        )
        print(" ".join(f"{name} {value:.4f}" for name, value in scores.items()))
