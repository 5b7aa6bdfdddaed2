"""How processes end: on SIGTERM in good order, and never later than their parent."""

from collections.abc import Iterator
import contextlib
import multiprocessing
from multiprocessing import connection
import os
import signal
import sys
import threading
import time

STATUS = 143  # Of a process that SIGTERM has ended: 128 + 15, as a shell says it.
GRACE_S = 10.0  # For what wants to be saved first.

_asked = threading.Event()
_unwound = threading.Event()  # The main thread has left `listening`.
_entered: list[None] = []  # One for each `finishing` that is not left yet.


def asked() -> bool:
    """Whether SIGTERM has come, so that what is to be saved is to be saved now."""
    return _asked.is_set()


def ask() -> None:
    """Ends this process as SIGTERM does: one that works with it has been asked to."""
    os.kill(os.getpid(), signal.SIGTERM)
    _asked.wait()  # A thread hears of it.


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Work that may go on for `GRACE_S` after SIGTERM; it looks at `asked` and ends.

    Where SIGTERM has come, the process ends when the outermost is left.
    """
    _entered.append(None)
    try:
        yield
    finally:
        _entered.pop()
        if _asked.is_set() and not _entered:
            threading.Event().wait()  # `_end` ends us.


@contextlib.contextmanager
def listening(line: str = "") -> Iterator[None]:
    """While entered, SIGTERM ends this process in good order, with `STATUS`.

    Worker processes are told as well, and waited for as they save what they have. That
    takes `GRACE_S` at most, and a moment where nothing is to be saved. A thread does
    it: Python's own handlers wait while XLA compiles.

    Args:
      line: What to tell then on stderr.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread look after signals.
        return
    former = signal.getsignal(signal.SIGTERM)
    write, watch = _listen(line)
    try:
        yield
    finally:
        if _asked.is_set():
            _unwound.set()
            threading.Event().wait()  # What is on its way out is no error of anyone.
        signal.signal(signal.SIGTERM, former)
        signal.set_wakeup_fd(-1)
        os.close(write)
        watch.join()


def _listen(line: str) -> tuple[int, threading.Thread]:
    """Begins to listen; ends when the descriptor is closed, and then the thread."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)  # The pipe tells of it.
    watch = threading.Thread(target=_watch, args=(read, line), daemon=True)
    watch.start()
    return write, watch


def _watch(read: int, line: str) -> None:
    while got := os.read(read, 1):
        if got[0] == signal.SIGTERM:
            _end(line)
    os.close(read)


def _end(line: str) -> None:
    """Ends the workers, then this process, when all is saved or the grace is over."""
    _asked.set()
    end = time.monotonic() + GRACE_S
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    while time.monotonic() < end and (
        _entered or any(worker.is_alive() for worker in workers)
    ):
        time.sleep(0.02)
    for worker in workers:
        worker.kill()
    if workers:  # Their pool's semaphores go with it, or Python warns of them.
        _unwound.wait(1.0)
    with contextlib.suppress(OSError):  # Nobody reads it any more.
        if line:
            print(line, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(STATUS)  # Threads that compile crash an exit that waits for nobody.


def start_worker() -> None:
    """What every worker process does first.

    Ctrl-C ends it at once: only the main process has something to say then. SIGTERM
    ends it in good order. When its parent is gone, killed perhaps, it goes too.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _listen("")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
