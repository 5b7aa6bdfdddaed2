"""Transcribes a table's utterances with Whisper.

  jser transcribe --table data/mine --weights openai/whisper-large-v3

Rerun it after a cut: finished utterances are kept.
"""

import pathlib

from jser.commands.shared_flags import RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_TABLE = FLAGS.required("table", "Folder of the table.")
_WEIGHTS = FLAGS.required("weights", "A Whisper: folder, or owner/model of the hub.")
_LANGUAGE = FLAGS.optional("language", "As en; detected by default.")
_ALL = FLAGS.switch("all", "Also those that have a transcript.")
_BATCH = FLAGS.integer("batch_size", 16, "Windows of 30 s at a time.")
_DTYPE = FLAGS.string("dtype", "float32", "float32, or bfloat16 for GPU or TPU.")
_CONTEXT = FLAGS.string(
    "context",
    "full",
    "What Whisper reads: full (30 s), or short (10 or 20 after less).",
)
_CUT = FLAGS.string(
    "cut", "fixed", "Where sounds over 30 s are cut: fixed (every 30 s), or pauses."
)
_FRONTEND = FLAGS.optional(
    "frontend", "Also makes the features of this Whisper front end, by one pass."
)
_MAX_FAILURES = FLAGS.integer("max_failures", 0, "Utterances that may fail.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    from jser.corpora import tables
    from jser.features import transcribe

    roots = _ROOTS.value
    done = transcribe.transcribe(
        tables.read(pathlib.Path(_TABLE.value)),
        weights=_WEIGHTS.value,
        language=_LANGUAGE.value,
        everything=_ALL.value,
        batch_size=_BATCH.value,
        dtype=_DTYPE.value,
        context=_CONTEXT.value,
        cut=_CUT.value,
        max_failures=_MAX_FAILURES.value,
        also=(_FRONTEND.value, roots.features) if _FRONTEND.value else None,
    )
    print(done)
