"""Makes a model of labelled sounds: prepare, extract, run and bundle in one go.

  jser fit --out my-model sounds/mine.csv
  jser fit --out my-model sounds/ --frontend whisper_base
  jser recognize my.wav --model my-model

It shows each command before it runs it; whoever types them gets the same model. What is
done already is not done again, so that a cut run goes on.
"""

import pathlib
import shlex

from jser.commands.shared_flags import RootFlags, WeightsFlag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_SOURCE = FLAGS.arguments(
    "source", "A folder with one subfolder per emotion, or a CSV."
)
_OUT = FLAGS.required("out", "Folder of the model; it and its runs are named by it.")
_CORPUS = FLAGS.optional(
    "corpus", "As prepare takes it: emodb. Default: csv or folder."
)
_NAME = FLAGS.optional("name", "Of the corpus, in data/. Default: as the source.")
_FRONTEND = FLAGS.strings(
    "frontend",
    "One for sound, one for words, or both: functionals,char_ngrams. Default:"
    " whisper_base where it is here, else functionals.",
)
_TEXTS = FLAGS.optional("transcripts", "A CSV of transcripts.")
_TUNE = FLAGS.choice("tune", ["lora"], "Whisper base learns, too; docs/tuning.md.")
_WEIGHTS = WeightsFlag(FLAGS)
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    if len(_SOURCE.value) != 1:
        raise ValueError("give one source: a folder of sounds, or a CSV.")
    from jser import fitting
    from jser.corpora import tables

    fit = fitting.of(
        pathlib.Path(_SOURCE.value[0]),
        pathlib.Path(_OUT.value),
        corpus=_CORPUS.value,
        name=_NAME.value,
        front_ends=_FRONTEND.value,
        transcripts=pathlib.Path(_TEXTS.value) if _TEXTS.value else None,
        weights=_WEIGHTS.value,
        roots=_ROOTS.value,
        tunes=bool(_TUNE.value),
    )
    _stage(fit.prepare, done=fit.is_prepared())
    table = tables.read(fit.table)
    fit.refuse_wordless(table)
    _stage(fit.extract)
    _stage(fit.run)
    _stage(fit.bundle, done=fit.is_bundled(table))


def _stage(argv: list[str], *, done: bool = False) -> None:
    """Shows a command, and runs it unless it is done."""
    from jser.commands import command_line

    remark = "  # Done before." if done else ""
    print(f"$ {shlex.join(['jser', *argv])}{remark}", flush=True)
    if not done:
        command_line.perform(argv[0], argv[1:])
