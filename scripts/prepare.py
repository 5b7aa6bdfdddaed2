"""Imports a corpus and writes its table: data/<name>/table.csv and table.json.

python scripts/prepare.py --corpus emodb --source emodb --out data/emodb --split loso
"""

import pathlib
import shlex
import sys

from absl import flags
import shared_flags

_CORPUS = flags.DEFINE_string(
    "corpus",
    None,
    "msp_podcast, emodb, ravdess, crema_d, iemocap, csv, folder, demo, or table (one of"
    " ours, edited by hand).",
    required=True,
)
_SOURCE = flags.DEFINE_string("source", None, "Its folder, or the CSV.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the table.", required=True)
_SPLIT = flags.DEFINE_string(
    "split", "given", "given, speakers, kfold, loso, or utterances (speakers shared)."
)
_FOLDS = flags.DEFINE_integer("folds", 5, "Cross-validation folds, by speakers.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the splits, and of the demo's voices.")
_ROOT = flags.DEFINE_string("audio_root", None, "Where files start, if not there.")
_TEXTS = flags.DEFINE_string("transcripts", None, "A CSV of transcripts.")
_MERGE = flags.DEFINE_list("merge", [], "Emotions to count as another: excited=happy.")
_KEEP = flags.DEFINE_list("keep", [], "The only emotions to keep.")


def main() -> None:
    from jser.corpora import prepare

    if bad := [m for m in _MERGE.value if m.count("=") != 1]:
        raise ValueError(f"--merge: {bad[0]!r} does not read one=other.")
    table = prepare.prepare(
        _CORPUS.value,
        pathlib.Path(_SOURCE.value),
        pathlib.Path(_OUT.value),
        policy=_SPLIT.value,
        folds=_FOLDS.value,
        seed=_SEED.value,
        audio_root=pathlib.Path(_ROOT.value) if _ROOT.value else None,
        transcripts=pathlib.Path(_TEXTS.value) if _TEXTS.value else None,
        merge=dict(m.split("=") for m in _MERGE.value),
        keep=_KEEP.value,
        command=shlex.join(["python", "scripts/prepare.py", *sys.argv[1:]]),
    )
    print(prepare.describe(table))


if __name__ == "__main__":
    shared_flags.run(main)
