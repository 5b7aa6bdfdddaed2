"""Imports a corpus and writes its table: data/<name>/.

jser prepare --corpus emodb --source emodb --out data/emodb --split loso
"""

import pathlib
import shlex

from jser.commands.shared_flags import MergeFlag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CORPUS = FLAGS.required(
    "corpus",
    "msp_podcast, emodb, ravdess, crema_d, iemocap, csv, folder, demo, or table (one of"
    " ours, edited by hand).",
)
_SOURCE = FLAGS.required("source", "Its folder, or the CSV.")
_OUT = FLAGS.required("out", "Folder of the table.")
_SPLIT = FLAGS.string(
    "split",
    "given",
    "given, speakers, kfold, loso; without regard to speakers: utterances, stratified.",
)
_FOLDS = FLAGS.integer("folds", 5, "Cross-validation folds, by speakers.")
_SEED = FLAGS.integer("seed", 0, "Of the splits, and of the demo's voices.")
_ROOT = FLAGS.optional("audio_root", "Where files start, if not there.")
_TEXTS = FLAGS.optional("transcripts", "A CSV of transcripts.")
_MERGE = MergeFlag(FLAGS, "Emotions to count as another: excited=happy.")
_KEEP = FLAGS.strings("keep", "The only emotions to keep.")
_SKIP = FLAGS.switch("skip_missing", "Leaves out rows whose sound file is missing.")
_SHARED = FLAGS.switch(
    "allow_shared_speakers", "Takes splits that share speakers; reports say so."
)
_UNDECIDED = FLAGS.switch(
    "keep_no_agreement",
    "Keeps what each rater said, and utterances without a majority (msp_podcast,"
    " iemocap, crema_d).",
)


def main() -> None:
    from jser.corpora import prepare

    table = prepare.prepare(
        _CORPUS.value,
        pathlib.Path(_SOURCE.value),
        pathlib.Path(_OUT.value),
        policy=_SPLIT.value,
        folds=_FOLDS.value,
        seed=_SEED.value,
        audio_root=pathlib.Path(_ROOT.value) if _ROOT.value else None,
        transcripts=pathlib.Path(_TEXTS.value) if _TEXTS.value else None,
        merge=_MERGE.value,
        keep=_KEEP.value,
        skip_missing=_SKIP.value,
        allow_shared_speakers=_SHARED.value,
        keep_no_agreement=_UNDECIDED.value,
        command=shlex.join(["jser", "prepare", *FLAGS.given()]),
    )
    print(prepare.describe(table))
