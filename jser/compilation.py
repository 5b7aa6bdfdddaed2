"""XLA's persistent cache: a shape that was compiled once is not compiled again."""

import os
import pathlib

import jax


def enable_cache() -> pathlib.Path:
    """Turns the cache on, in `$JSER_CACHE` or `~/.cache/jser`; returns its folder."""
    folder = os.environ.get("JSER_CACHE") or "~/.cache/jser"
    path = pathlib.Path(folder).expanduser() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return path
