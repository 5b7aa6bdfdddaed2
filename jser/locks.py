"""Who is at work in a folder: one process at a time, and the others are told which."""

from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shlex
import socket
import sys
import tempfile
import threading
import time
from typing import Any

from absl import logging

NAME = ".lock"
STALE_S = 60.0  # A process elsewhere that has not touched its lock for so long is gone.
_HEARTBEAT_S = 5.0


@contextlib.contextmanager
def holding(folder: pathlib.Path, instead: str) -> Iterator[None]:
    """Holds `<folder>/.lock`, the folder made if need be, and removes it in the end.

    The system takes the lock from a process that has died, so that a run that was
    killed is gone on with at once. Some file systems of several machines do not share
    such locks; there the heartbeat counts, the time at which the file was last touched.
    What is not promised: two processes on such machines that begin within the same
    second, or one that sleeps for a minute and wakes, are not kept apart.

    Args:
      folder: Where only one process may work.
      instead: What to do other than to wait, for the message.

    Raises:
      BlockingIOError: naming the process that is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, ended = folder / NAME, threading.Event()
    with _locked(path, instead) as descriptor:
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": shlex.join(sys.argv),
        }
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)

        def beat() -> None:
            while not ended.wait(_HEARTBEAT_S):
                with contextlib.suppress(OSError):  # A full or sleeping disk may wake.
                    os.utime(descriptor)

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()  # Its descriptor is about to be another file's.
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: pathlib.Path, instead: str) -> Iterator[int]:
    """The descriptor of the file, which nobody else has locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock(descriptor):
                raise _refusal(path, _Holder.read(descriptor), instead)
            if not _is_same(descriptor, path):
                continue  # Its holder removed it just before we locked it.
            former = _Holder.read(descriptor)
            if former and former.is_elsewhere() and not _is_stale(descriptor, path):
                raise _refusal(path, former, instead)
            if former:
                logging.info("%s: goes on in place of %s", path.parent, former)
            yield descriptor
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now, or lies where files cannot be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        logging.warning("this file system has no locks; see that only one run is there")
    return True


def _is_same(descriptor: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_stale(descriptor: int, path: pathlib.Path) -> bool:
    """Whether the last heartbeat is long ago, by the clock of the file system."""
    with tempfile.TemporaryFile(dir=path.parent) as new:
        now = os.fstat(new.fileno()).st_mtime
    return now - os.fstat(descriptor).st_mtime > STALE_S


@dataclasses.dataclass(frozen=True)
class _Holder:
    """Who a lock says it belongs to."""

    pid: int
    host: str
    since: str
    command: str

    @classmethod
    def read(cls, descriptor: int) -> "_Holder | None":
        """None if it is not, or not yet, said; as after a kill in its first moment."""
        try:
            said: Any = json.loads(os.pread(descriptor, 1 << 20, 0))
            return cls(**said)
        except (ValueError, TypeError):
            return None

    def is_elsewhere(self) -> bool:
        """Whether this machine would not know if the process died."""
        return self.host != socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def _refusal(
    path: pathlib.Path, holder: _Holder | None, instead: str
) -> BlockingIOError:
    who = f", {holder}" if holder else ""
    return BlockingIOError(
        f"{path.parent}: another run is at work there{who}. Wait for it, or {instead}."
    )
