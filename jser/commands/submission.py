r"""Writes the challenge's CSV from logits or predictions.

  jser submission --predictions runs/ensemble_paper/predictions/test3.csv \
    --out submission.csv --sample Categorical_test.csv

Any <run>/logits/<split>.npz will do, too. Its columns are FileName,EmoClass; with
--task attributes, FileName,EmoAct,EmoVal,EmoDom, from logits that have attributes:

  jser submission --task attributes --out attributes.csv \
    --predictions runs/whisper_roberta_deep/logits/test3.npz
"""

import pathlib

from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_PREDICTIONS = FLAGS.required("predictions", "Predictions (.csv) or logits (.npz).")
_OUT = FLAGS.required("out", "The CSV to write.")
_TASK = FLAGS.choice("task", ["emotion", "attributes"], "emotion if not given.")
_SAMPLE = FLAGS.optional("sample", "The organisers', to check against.")


def main() -> None:
    from jser.report import submission

    predictions, out = pathlib.Path(_PREDICTIONS.value), pathlib.Path(_OUT.value)
    sample = pathlib.Path(_SAMPLE.value) if _SAMPLE.value else None
    if _TASK.value == "attributes":
        rated = submission.read_attributes(predictions)
        rows = submission.write_attributes(rated, out, sample=sample)
    else:
        said = submission.read(predictions)
        rows = submission.write(said, out, sample=sample)
    print(f"{_OUT.value}: {rows} rows{', as in the sample' if sample else ''}")
