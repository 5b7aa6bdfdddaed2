"""Scores a run, seeds of a config or an ensemble: results.json and results.md.

  python scripts/evaluate.py --config configs/ensemble_demo.py
  python scripts/evaluate.py --config configs/demo_logmel_words.py --seeds 0,1,2
  python scripts/evaluate.py --workdir runs/demo_logmel_words --target_prior uniform

Or compares two systems on the same utterances:

  python scripts/evaluate.py --compare A,B --split test --out comparison.json

with logits (.npz) or folders of them, such as runs/demo_logmel_words and
runs/ensemble_demo/logits/average.
"""

import pathlib

from absl import flags
import shared_flags
import subject_flags

_COMPARE = flags.DEFINE_list("compare", [], "Two systems; how much B gains over A.")
_SPLIT = flags.DEFINE_string("split", "test", "With --compare: that of the folders.")
_OUT = flags.DEFINE_string("out", None, "With --compare: a file for the numbers.")


def main() -> None:
    if _COMPARE.present:
        compare()
        return
    inputs, folder = subject_flags.subject()
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
    found = comparison.of_files(a, b, _SPLIT.value)
    print(comparison.describe(found))
    if _OUT.value:
        files.write_json(_OUT.value, found)


if __name__ == "__main__":
    shared_flags.run(main)
