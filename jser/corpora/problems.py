"""`prepare_problems.csv`: all rows of a corpus that a person must see to."""

from collections.abc import Sequence
import csv
import io
import pathlib

from absl import logging

from jser import files
from jser.corpora.tables import Fault

NAME = "prepare_problems.csv"
_COLUMNS = ("utt_id", "file", "emotion", "speaker", "split", "fold", "sha256")


def refuse(faults: Sequence[Fault], where: object, folder: pathlib.Path) -> None:
    """Lists all faults in the file and raises ValueError for the first, if any."""
    if faults:
        listed = f" All are in {_write(faults, folder)}." if faults[0].rows else ""
        raise ValueError(f"{where}: {faults[0]}{listed}")


def warn(faults: Sequence[Fault], where: object, folder: pathlib.Path) -> None:
    """Lists faults that a table may have; without any, no old list stays."""
    if not faults:
        (folder / NAME).unlink(missing_ok=True)
        return
    path = _write(faults, folder)
    for fault in faults:
        logging.warning("%s: %s All are in %s.", where, fault, path)


def _write(faults: Sequence[Fault], folder: pathlib.Path) -> pathlib.Path:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("problem", *_COLUMNS))
    for fault in faults:
        for u in fault.rows:
            cells = (getattr(u, c) for c in _COLUMNS)
            writer.writerow((fault.what, *("" if c is None else c for c in cells)))
    files.write_atomically(folder / NAME, out.getvalue())
    return folder / NAME
