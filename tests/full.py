"""All tests, and many more draws of the random ones: `python -m tests.full`, for hours.

Further arguments go to pytest. Prints versions and counts, and writes them to
tests/results/full.md.
"""

import collections
from importlib import metadata
import platform
import shlex
import sys

import pytest

from tests.helpers.paths import ROOT

PAGE = ROOT / "tests" / "results" / "full.md"
OPTIONS = ("-m", "", "--hypothesis-profile=full", "-n=auto", "--dist=loadfile")
TIERS = ("full", "slow", "fast")
OUTCOMES = ("passed", "failed", "skipped")
PACKAGES = (
    *("jax", "flax", "optax", "numpy", "scikit-learn", "torch", "transformers"),
    *("tensorflow-datasets", "pytest", "hypothesis"),
)


class Counts:
    """A plugin of pytest: outcomes by tier."""

    def __init__(self):
        self.found = collections.Counter()

    def pytest_runtest_logreport(self, report) -> None:
        """Of the call, and of what goes wrong or is skipped before and after it."""
        if report.when == "call" or not report.passed:
            tier = next(t for t in TIERS if t in report.keywords or t == TIERS[-1])
            self.found[tier, report.outcome] += 1


def page(counts: Counts, arguments: list[str]) -> str:
    """Markdown, without a date: it changes only where a result does."""
    command = shlex.join(["python", "-m", "tests.full", *arguments])
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    rows = [
        f"| {tier} | {' | '.join(str(counts.found[tier, o]) for o in OUTCOMES)} |"
        for tier in TIERS
    ]
    return "\n".join(
        [
            "# All tests",
            "",
            f"`{command}`, on {platform.machine()}, Python {platform.python_version()},"
            f" {', '.join(versions)}.",
            "",
            f"| tests | {' | '.join(OUTCOMES)} |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Returns pytest's exit status."""
    counts = Counts()
    status = pytest.main([*OPTIONS, *sys.argv[1:]], plugins=[counts])
    text = page(counts, sys.argv[1:])
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
