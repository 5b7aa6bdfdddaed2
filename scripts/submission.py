"""Writes the challenge's CSV (FileName,EmoClass) from logits or predictions.

  python scripts/submission.py --predictions runs/ensemble_paper/predictions/test3.csv \
    --out submission.csv --sample Categorical_test.csv

Any <run>/logits/<split>.npz will do, too.
"""

import pathlib

from absl import flags
import shared_flags

_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "Predictions (.csv) or logits (.npz).", required=True
)
_OUT = flags.DEFINE_string("out", None, "The CSV to write.", required=True)
_SAMPLE = flags.DEFINE_string("sample", None, "The organisers', to check against.")


def main() -> None:
    from jser.report import submission

    predicted = submission.read(pathlib.Path(_PREDICTIONS.value))
    sample = pathlib.Path(_SAMPLE.value) if _SAMPLE.value else None
    rows = submission.write(predicted, pathlib.Path(_OUT.value), sample=sample)
    print(f"{_OUT.value}: {rows} rows{', as in the sample' if sample else ''}")


if __name__ == "__main__":
    shared_flags.run(main)
