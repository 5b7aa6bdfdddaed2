"""Writes the networks of a model for programs without jser, as StableHLO.

  jser export my-model --to stablehlo --out my-model-stablehlo

A build product, to be made again with every new jax. docs/export.md has how it is used.
"""

import pathlib

from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_MODEL = FLAGS.arguments(
    "model", "A folder, <owner>/<name> of the hub, or one that comes along."
)
_TO = FLAGS.choice("to", ["stablehlo"], "The format; stablehlo is the one there is.")
_OUT = FLAGS.required("out", "Folder for it.")


def main() -> None:
    if len(_MODEL.value) != 1 or not _TO.value:
        raise ValueError("give one model, and --to stablehlo.")
    from jser.recognizer import bundle, export, models

    out = pathlib.Path(_OUT.value)
    if bundle.is_bundle(out):
        raise ValueError(f"{out}: a model lies there. Give another folder.")
    model = bundle.load(models.find(_MODEL.value[0]))
    try:
        written = export.save(model, out)
    except ImportError as e:
        raise ValueError(f"{e}. pip install 'jser[export]' does it.") from e
    size = sum(path.stat().st_size for path in written)
    print(f"{out}: {len(written) - 1} programs, {size / 1e6:.1f} MB; {written[-1]}")
