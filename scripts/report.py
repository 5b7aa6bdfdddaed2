"""Scores a run, seeds of a config or an ensemble and draws the page: report.html.

  python scripts/report.py --config configs/ensemble_demo.py

It takes what scripts/evaluate.py takes, and writes results.json and .md as well.
"""

import shared_flags
import subject_flags


def main() -> None:
    from jser.report import page

    inputs, folder = subject_flags.subject()
    page.write(inputs, folder)
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / "report.html")


if __name__ == "__main__":
    shared_flags.run(main)
