"""Encodes a table's utterances: features/<corpus>/<front end>/.

  python scripts/extract.py --table data/emodb --frontend logmel

Rerun it after a cut: finished shards are kept.
"""

import pathlib

from absl import flags
import shared_flags

_TABLE = flags.DEFINE_string("table", None, "Folder of the table.", required=True)
_FRONTEND = flags.DEFINE_list(
    "frontend",
    None,
    "One or more of logmel, mfcc, prosody, functionals, char_ngrams.",
    required=True,
)
_WORKERS = flags.DEFINE_integer("workers", None, "Processes; all cores by default.")
_MAX_FAILURES = flags.DEFINE_integer("max_failures", 0, "Utterances that may fail.")


def main() -> None:
    from jser.corpora import table as tables
    from jser.extract import run

    table = tables.read(pathlib.Path(_TABLE.value))
    for name in _FRONTEND.value:
        found = run.extract(
            table,
            name,
            shared_flags.roots().features,
            workers=_WORKERS.value,
            max_failures=_MAX_FAILURES.value,
        )
        print(
            f"{found.folder}: {len(found.utt_id)} utterances, {found.length.sum()}"
            f" frames of width {found.width}, {len(found.failures)} failures"
        )


if __name__ == "__main__":
    shared_flags.run(main)
