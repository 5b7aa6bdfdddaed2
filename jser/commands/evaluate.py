"""Scores a run, seeds of a config or an ensemble: results.json and results.md.

  jser evaluate --config ensemble_demo
  jser evaluate --config demo_logmel_words --seeds 0,1,2
  jser evaluate --workdir runs/demo_logmel_words --target_prior uniform

Or compares two systems on the same utterances:

  jser evaluate --compare A,B --split test --out comparison.json

with logits (.npz) or folders of them, such as runs/demo_logmel_words and
runs/ensemble_demo/logits/average.
"""

import pathlib

from jser.commands.subject_flags import SubjectFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_SUBJECT = SubjectFlags(FLAGS)
_COMPARE = FLAGS.strings("compare", "Two systems A,B: how much B gains over A.")
_SPLIT = FLAGS.string("split", "test", "With --compare: that of the folders.")
_OUT = FLAGS.optional("out", "With --compare: a file for the numbers.")


def main() -> None:
    if _COMPARE.value:
        compare()
        return
    inputs, folder = _SUBJECT.inputs()
    from jser.report import results

    results.write(inputs, folder)
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / "results.json")


def compare() -> None:
    if len(_COMPARE.value) != 2:
        raise ValueError(f"--compare: {','.join(_COMPARE.value)} must be two, as A,B.")
    from jser import files
    from jser.report import comparison

    a, b = map(pathlib.Path, _COMPARE.value)
    compared = comparison.of_files(a, b, _SPLIT.value)
    print(comparison.describe(compared))
    if _OUT.value:
        files.write_json(_OUT.value, compared)
