"""Scores a run, seeds of a config or an ensemble and draws the page: report.html.

  jser report --config ensemble_demo

It takes what `jser evaluate` takes, and writes results.json and .md as well.
"""

from jser.commands.subject_flags import SubjectFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_SUBJECT = SubjectFlags(FLAGS)


def main() -> None:
    from jser.report import page

    inputs, folder = _SUBJECT.inputs()
    page.write(inputs, folder)
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / "report.html")
