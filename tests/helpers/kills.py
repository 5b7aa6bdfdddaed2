"""`jser` commands that are killed at random moments, and what they leave.

`python -m tests.helpers.kills` counts the lines that a run of tests/test_killed.py has
left in the file that $JSER_KILLS names.
"""

import collections
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import zipfile

import psutil

from jser.features import verify
from tests.helpers.paths import ROOT

WAYS = ("group", "parent")  # Who is sent SIGKILL: all at once, or the parent alone.
_LONG_S = 600.0
# What a kill may leave, but the next run may not.
LITTER = (
    ".tmp",
    "incomplete",
    ".lock",
    "orbax-checkpoint-tmp",
    "parts-",
    "transcripts-",
)
# Of orbax's and TensorBoard's own making: times, and names of their own choice.
_OTHERS = ("checkpoints", "tensorboard")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one kill."""

    came: bool  # Before the command had ended by itself.
    orphans_s: float  # How long the last process outlived the parent.


def start(arguments: Sequence[str], home: pathlib.Path) -> subprocess.Popen:
    """Starts `jser` in a folder, as the leader of a session; `told` has its stderr."""
    with _told_at(home).open("w", encoding="utf-8") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "jser", *arguments],
            cwd=home,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )


def _told_at(home: pathlib.Path) -> pathlib.Path:
    return home.with_name(f"{home.name}.stderr")


def told(home: pathlib.Path) -> str:
    """What the last command of the folder told on stderr."""
    return _told_at(home).read_text(encoding="utf-8")


def finish(arguments: Sequence[str], home: pathlib.Path) -> float:
    """Runs `jser` to its end; returns the seconds it took."""
    began = time.monotonic()
    status = start(arguments, home).wait(timeout=_LONG_S)
    assert status == 0, told(home)
    return time.monotonic() - began


def kill(
    arguments: Sequence[str], home: pathlib.Path, seconds: float, rng: random.Random
) -> Outcome:
    """Kills `jser` in its first second, anywhere in `seconds`, or as it saves."""
    process = start(arguments, home)
    when, end = rng.choice(("first", "any", "any", "saving")), time.monotonic()
    end += rng.uniform(0, 1 if when == "first" else seconds)
    while process.poll() is None and time.monotonic() < end:
        if when == "saving" and any(home.glob("runs/**/*orbax-checkpoint-tmp*")):
            break
        time.sleep(0.002)
    came = process.poll() is None
    if came and rng.choice(WAYS) == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif came:
        process.kill()
    process.wait()
    return Outcome(came, _wait_for_orphans(process.pid))


def stop(arguments: Sequence[str], home: pathlib.Path, seconds: float) -> int:
    """Sends SIGTERM after so many seconds; returns the exit status."""
    process = start(arguments, home)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.terminate()
    status = process.wait(timeout=_LONG_S)
    _wait_for_orphans(process.pid)
    return status


def _wait_for_orphans(session: int) -> float:
    began = time.monotonic()
    while left := [p for p in psutil.process_iter() if _is_of(p, session)]:
        assert time.monotonic() - began < _LONG_S, left
        time.sleep(0.05)
    return time.monotonic() - began


def _is_of(process: psutil.Process, session: int) -> bool:
    try:
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and os.getsid(process.pid) == session
    except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
        return False


def content(home: pathlib.Path) -> dict[str, object]:
    """All that lies below a folder, by path: bytes, or what does not tell of time.

    ArrayRecord files of the same records differ; `jser extract --verify` holds them
    against the digests of their frames. skops writes the time and where objects lay in
    memory; the arrays of a stacker are compared by their checksums.
    """
    found: dict[str, object] = {}
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        name = path.relative_to(home)
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[str(name)] = [_without(x, "perf/") for x in lines]
        elif path.name == "manifest.json":
            manifest = json.loads(path.read_text())
            found[str(name)] = _without(manifest, "digests"), verify.verify(path.parent)
        elif path.name == "stack.json":
            found[str(name)] = _without(json.loads(path.read_text()), "sha256")
        elif path.suffix == ".skops":
            entries = zipfile.ZipFile(path).infolist()
            found[str(name)] = [e.CRC for e in entries if e.filename != "schema.json"]
        elif ".array_record" in path.name:
            found[str(name)] = path.stat().st_size
        elif not set(name.parts) & set(_OTHERS):
            found[str(name)] = path.read_bytes()
    for folder in home.glob("runs/**/checkpoints"):
        name = folder.relative_to(home)
        found[str(name)] = sorted(p.name for p in folder.iterdir())
    return found


def _without(values: dict, prefix: str) -> dict:
    return {k: v for k, v in values.items() if not k.startswith(prefix)}


def litter(home: pathlib.Path) -> list[str]:
    """What a killed process left there and no run removed."""
    names = [str(p.relative_to(home)) for p in home.rglob("*")]
    return [n for n in names if any(x in n.rpartition("/")[2] for x in LITTER)]


def note(command: str, outcomes: Sequence[Outcome], differing: int, left: int) -> None:
    """Appends what came of a test to the file that $JSER_KILLS names, if it does."""
    if path := os.environ.get("JSER_KILLS"):
        came = [o for o in outcomes if o.came]
        late = max((o.orphans_s for o in came), default=0.0)
        line = [command, len(came), differing, left, round(late, 2)]
        with open(path, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")


def main() -> None:
    """Prints the counts by command."""
    lines = pathlib.Path(os.environ["JSER_KILLS"]).read_text().splitlines()
    by_command = collections.defaultdict(list)
    for line in lines:
        command, *counts = json.loads(line)
        by_command[command].append(counts)
    print("command, kills, differing, litter, seconds of the last orphan")
    for command, rows in by_command.items():
        kills, differing, left, late = zip(*rows, strict=True)
        print(command, sum(kills), sum(differing), sum(left), max(late))


if __name__ == "__main__":
    main()
