"""Writes the challenge's CSV (FileName,EmoClass) from logits or predictions.

  jser submission --predictions runs/ensemble_paper/predictions/test3.csv \
    --out submission.csv --sample Categorical_test.csv

Any <run>/logits/<split>.npz will do, too.
"""

import pathlib

from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_PREDICTIONS = FLAGS.required("predictions", "Predictions (.csv) or logits (.npz).")
_OUT = FLAGS.required("out", "The CSV to write.")
_SAMPLE = FLAGS.optional("sample", "The organisers', to check against.")


def main() -> None:
    from jser.report import submission

    predicted = submission.read(pathlib.Path(_PREDICTIONS.value))
    sample = pathlib.Path(_SAMPLE.value) if _SAMPLE.value else None
    rows = submission.write(predicted, pathlib.Path(_OUT.value), sample=sample)
    print(f"{_OUT.value}: {rows} rows{', as in the sample' if sample else ''}")
