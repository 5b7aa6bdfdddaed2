"""SIGTERM ends processes in good order, and a parent's death ends its workers."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from jser import processes
from tests.helpers.paths import ROOT

# A parent with two workers that sleep, or that save something when they are asked.
PROGRAM = """
import concurrent.futures, multiprocessing, pathlib, sys, time
from jser import processes

def work(folder, number):
    (folder / f"{number}.began").touch()
    if sys.argv[2] == "sleep":
        time.sleep(60)
    with processes.finishing():
        while not processes.asked():
            time.sleep(0.01)
        (folder / f"{number}.saved").touch()

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    context = multiprocessing.get_context("spawn")
    with processes.listening("stopped"):
        pool = concurrent.futures.ProcessPoolExecutor(
            2, context, initializer=processes.start_worker
        )
        with pool:
            for future in [pool.submit(work, folder, k) for k in range(4)]:
                future.result()
"""


@pytest.fixture
def start(tmp_path):
    """Starts the program; returns it and its workers, once they are at work."""

    def start(what: str) -> tuple[subprocess.Popen, list[psutil.Process]]:
        path = tmp_path / "program.py"
        path.write_text(PROGRAM)
        process = subprocess.Popen(
            [sys.executable, str(path), str(tmp_path), what],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(list(tmp_path.glob("*.began"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        return process, psutil.Process(process.pid).children(recursive=True)

    return start


def saved(folder: pathlib.Path) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.saved"))


@pytest.mark.parametrize("what", ["sleep", "save"])
def test_sigterm_is_told_in_one_line_when_all_have_ended(start, tmp_path, what):
    process, workers = start(what)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == "stopped\n"
    assert process.returncode == processes.STATUS == 143
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert saved(tmp_path) == ([] if what == "sleep" else ["0", "1"])


@pytest.mark.parametrize("what", ["sleep", "save"])
def test_no_worker_outlives_its_parent(start, tmp_path, what):
    process, workers = start(what)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert saved(tmp_path) == []


def test_sigterm_is_what_it_was_when_nobody_listens_any_more():
    former = signal.getsignal(signal.SIGTERM)
    with processes.listening(), processes.finishing():
        assert signal.getsignal(signal.SIGTERM) != former
        assert not processes.asked()
    assert signal.getsignal(signal.SIGTERM) == former
