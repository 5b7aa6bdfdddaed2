"""Temporary files go with whoever wrote them."""

import os
import subprocess
import sys
import time

from jser import files
from tests.helpers.paths import ROOT

# Writes a file and is killed, or waits, before it is whole.
PROGRAM = """
import os, signal, sys, time
from jser import files
def fsync(_):
    print("written", flush=True)
    if sys.argv[2] == "wait":
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
files.write_atomically(sys.argv[1], "half")
"""


def write_half(path, what: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), what],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def age(folder) -> None:
    """A start of jser takes longer than a temporary file is taken for new."""
    for path in folder.glob(".*.tmp"):
        os.utime(path, (time.time() - 5,) * 2)


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    path, other = tmp_path / "x.json", tmp_path / ".x.json.elsewhere.0.tmp"
    write_half(path, "die").communicate()
    assert len(list(tmp_path.iterdir())) == 1
    other.touch()  # Another machine may be at it.
    age(tmp_path)
    files.write_atomically(path, "whole")
    assert path.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_what_another_is_writing_stays(tmp_path):
    path = tmp_path / "x.json"
    process = write_half(path, "wait")
    age(tmp_path)
    files.write_atomically(path, "whole")
    assert len(list(tmp_path.glob(".x.json.*.tmp"))) == 1
    process.kill()
    process.communicate()
    files.write_atomically(path, "whole")
    assert list(tmp_path.iterdir()) == [path]
