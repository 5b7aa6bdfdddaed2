"""Writes a model for programs without jser: StableHLO, ONNX, or PEFT's adapters.

  jser export my-model --to onnx --out my-model-onnx
  jser export my-model --to peft --out my-adapter

A build product, and the bundle stays the source. docs/export.md has how it is used;
docs/tuning.md has adapters.
"""

import pathlib

from jser.commands.shared_flags import WeightsFlag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_MODEL = FLAGS.arguments(
    "model", "A folder, <owner>/<name> of the hub, or one that comes along."
)
_TO = FLAGS.choice("to", ["stablehlo", "onnx", "peft"], "The format.")
_OUT = FLAGS.required("out", "Folder for it.")
_WEIGHTS = WeightsFlag(FLAGS)


def main() -> None:
    if len(_MODEL.value) != 1 or not _TO.value:
        raise ValueError("give one model, and --to stablehlo, onnx or peft.")
    if _WEIGHTS.value and _TO.value != "peft":
        raise ValueError(
            f"--weights: of encoders that learned; --to {_TO.value} has none."
        )
    from jser.recognizer import bundle, models

    out = pathlib.Path(_OUT.value)
    if bundle.is_bundle(out):
        raise ValueError(f"{out}: a model lies there. Give another folder.")
    model = bundle.load(models.find(_MODEL.value[0]))
    try:
        if _TO.value == "peft":
            from jser.recognizer import export_peft

            written = export_peft.save(model, out, _WEIGHTS.value)
        elif _TO.value == "onnx":
            from jser.recognizer import export_onnx

            written = export_onnx.save(model, out)
        else:
            from jser.recognizer import export

            written = export.save(model, out)
    except ImportError as e:
        raise ValueError(f"{e}. pip install 'jser[export]' does it.") from e
    size = sum(path.stat().st_size for path in written)
    print(f"{out}: {size / 1e6:.1f} MB, {', '.join(path.name for path in written)}")
