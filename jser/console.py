"""What a person sees of a run: our own lines, and nobody's chatter."""

import os
import pathlib
from typing import Any
import warnings

from absl import logging

_WARNING, _ERROR = 30, 40  # Of the standard library's logging.
_HERE = str(pathlib.Path(__file__).parent)


def quiet() -> None:
    """Shows our own log lines from INFO up, and other libraries' from WARNING up."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_Plain())
    logging.get_absl_handler().addFilter(_is_worth_a_look)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # XLA's notes about the CPU.
    warnings.filterwarnings("ignore", message="n_fft=.* is too large", module="librosa")


def _is_worth_a_look(record: Any) -> bool:
    if record.levelno >= _ERROR and "orbax" in record.pathname:
        return False  # It raises what it logs, once a thread, as well.
    return record.levelno >= _WARNING or record.pathname.startswith(_HERE)


def counted(count: int, thing: str) -> str:
    """`1 sound`, `2 sounds`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


class _Plain(logging.PythonFormatter):
    """The message alone, with its level where that is worth a look."""

    def format(self, record) -> str:
        warns = record.levelno >= _WARNING
        prefix = f"{record.levelname.lower()}: " if warns else ""
        return prefix + record.getMessage()
