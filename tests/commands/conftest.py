"""The command `jser`, run in the process of the test."""

import pytest

from jser import console
from jser.commands import command_line


@pytest.fixture
def jser(capsys, monkeypatch, tmp_path):
    """Runs `jser` in an empty folder; gives status, stdout and the line on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", lambda: None)

    def run(*argv: str) -> tuple[int, str, str]:
        status = command_line.main(argv)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run
