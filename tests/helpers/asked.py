"""SIGTERM, as training sees it, without a signal."""

import itertools

from jser import processes


def at_step(monkeypatch, number: int) -> None:
    """The process is asked to end while it does its step `number`, counted from 1."""
    steps = itertools.count(1)
    monkeypatch.setattr(processes, "asked", lambda: next(steps) >= number)
