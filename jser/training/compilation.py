"""XLA's persistent cache: a shape that was compiled once is not compiled again."""

from collections import Counter
from collections.abc import Iterator
import contextlib
import dataclasses
import gc
import os
import pathlib

import jax

from jser import caches

_MOST_MAPS = 20_000  # Of the 65,530 parts of memory that Linux lets a process have.


def enable_cache() -> pathlib.Path:
    """Turns the cache on, in `$JSER_CACHE` or `~/.cache/jser`; returns its folder.

    Where that cannot be written to, in a private temporary folder.
    """
    free_programs()
    path = caches.choose(os.environ.get("JSER_CACHE") or "~/.cache/jser") / "xla"
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return path


def free_programs() -> None:
    """Frees all programs that are ready to run, if there are a great many.

    Each takes some of the parts of memory that a process may have. Where the last is
    taken, as after some dozens of trainings, XLA ends in a segmentation fault.
    """
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@dataclasses.dataclass
class Count:
    """What was made ready to run, by the name of the jitted function."""

    programs: Counter[str] = dataclasses.field(default_factory=Counter)
    from_cache: int = 0  # Of these, how many the persistent cache had.
    seconds: float = 0.0

    def __str__(self) -> str:
        total = self.programs.total()
        return (
            f"{total} programs ready after {self.seconds:.1f} s,"
            f" {total - self.from_cache} of them compiled,"
            f" {self.from_cache} from the cache"
        )


@contextlib.contextmanager
def counted() -> Iterator[Count]:
    """Counts compilations while it is entered."""
    count = Count()

    def on_duration(event: str, duration_secs: float, **kwargs) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            count.programs[str(kwargs.get("fun_name", ""))] += 1
            count.seconds += duration_secs

    def on_event(event: str, **_) -> None:
        count.from_cache += event == "/jax/compilation_cache/cache_hits"

    jax.monitoring.register_event_duration_secs_listener(on_duration)
    jax.monitoring.register_event_listener(on_event)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(on_duration)
        jax.monitoring.unregister_event_listener(on_event)
