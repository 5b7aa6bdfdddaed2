"""A folder has one run at a time, and whoever died holds nothing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from jser import locks
from tests.helpers.paths import ROOT

HOLD = """
import pathlib, sys, time
from jser import locks
with locks.holding(pathlib.Path(sys.argv[1]), "give another name"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def holding(folder):
    return locks.holding(folder, "give another name")


def leave(folder, *, host: str, seconds_ago: float) -> None:
    """A lock of a process that has none of the system's, as of another machine."""
    said = {"pid": 7, "host": host, "since": "2026-01-02 03:04:05", "command": "jser"}
    path = folder / locks.NAME
    path.write_text(json.dumps(said))
    then = time.time() - seconds_ago
    os.utime(path, (then, then))


def test_a_second_one_is_refused_by_name(tmp_path):
    folder = tmp_path / "run"
    with holding(folder):
        since = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        want = (
            f"{re.escape(str(folder))}: another run is at work there, process"
            rf" {os.getpid()} on {re.escape(socket.gethostname())}, since {since}\."
            r" Wait for it, or give another name\.$"
        )
        with pytest.raises(BlockingIOError, match=want), holding(folder):
            pass
        other = hold(folder, 0)
        assert f"process {os.getpid()} on" in other.communicate()[1]
        assert other.returncode == 1
    assert list(folder.iterdir()) == []
    with holding(folder), pytest.raises(KeyError), holding(tmp_path / "other"):
        raise KeyError
    assert not (tmp_path / "other" / locks.NAME).exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    process = hold(tmp_path, 60)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), holding(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / locks.NAME).exists()
    with holding(tmp_path):
        said = json.loads((tmp_path / locks.NAME).read_text())
        assert said["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_of_several_that_take_over_at_once_one_wins(tmp_path):
    leave(tmp_path, host=socket.gethostname(), seconds_ago=0)
    together = [hold(tmp_path, 5) for _ in range(4)]
    told = [p.communicate() for p in together]
    assert sorted(p.returncode for p in together) == [0, 1, 1, 1]
    assert sum("another run is at work" in stderr for _, stderr in told) == 3
    assert list(tmp_path.iterdir()) == []


def test_elsewhere_the_heartbeat_counts(tmp_path, monkeypatch):
    leave(tmp_path, host="elsewhere", seconds_ago=locks.STALE_S - 20)
    with pytest.raises(BlockingIOError, match="process 7 on elsewhere, since 2026-01"):
        holding(tmp_path).__enter__()
    leave(tmp_path, host="elsewhere", seconds_ago=locks.STALE_S + 20)
    monkeypatch.setattr(locks, "_HEARTBEAT_S", 0.01)
    with holding(tmp_path):
        path = tmp_path / locks.NAME
        os.utime(path, (1, 1))
        while path.stat().st_mtime == 1:  # Until the next beat.
            time.sleep(0.01)


@pytest.mark.parametrize("text", ["", '{"pid": 7', "[]", '{"pid": 7}'])
def test_a_lock_that_says_nothing_is_no_hindrance(tmp_path, text):
    (tmp_path / locks.NAME).write_text(text)
    with holding(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
