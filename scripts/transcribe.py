"""Transcribes a table's utterances with Whisper: its columns transcript and so on.

  python scripts/transcribe.py --table data/mine --weights openai/whisper-large-v3

Rerun it after a cut: finished utterances are kept.
"""

import pathlib

from absl import flags
import shared_flags

_TABLE = flags.DEFINE_string("table", None, "Folder of the table.", required=True)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A Whisper: folder, or owner/model of the hub.",
    required=True,
)
_LANGUAGE = flags.DEFINE_string("language", None, "As en; detected by default.")
_ALL = flags.DEFINE_bool("all", False, "Also those that have a transcript.")
_BATCH = flags.DEFINE_integer("batch_size", 16, "Windows of 30 s at a time.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "float32, or bfloat16 for GPU or TPU.")
_FRONTEND = flags.DEFINE_string(
    "frontend", None, "Also makes the features of this Whisper front end, by one pass."
)
_MAX_FAILURES = flags.DEFINE_integer("max_failures", 0, "Utterances that may fail.")


def main() -> None:
    from jser.corpora import tables
    from jser.features import transcribe

    roots = shared_flags.roots()
    done = transcribe.transcribe(
        tables.read(pathlib.Path(_TABLE.value)),
        weights=_WEIGHTS.value,
        language=_LANGUAGE.value,
        everything=_ALL.value,
        batch_size=_BATCH.value,
        dtype=_DTYPE.value,
        max_failures=_MAX_FAILURES.value,
        also=(_FRONTEND.value, roots.features) if _FRONTEND.value else None,
    )
    print(done)


if __name__ == "__main__":
    shared_flags.run(main)
