"""The rows of any CSV file, or the line at which it is none."""

from collections import Counter
from collections.abc import Sequence
import csv
import io
import pathlib

from jser import files


def read_csv(path: pathlib.Path, *, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of any CSV file, cells stripped; byte order mark and CRLF are fine.

    Raises:
      ValueError: naming the file and line, if it is not UTF-8, has a NUL or an open
        quote, lacks a required column, has one twice, or has a row of another length
        than its header.
    """
    header, rows = _parsed(path)
    if missing := [c for c in required if c not in header]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; the header is"
            f" {', '.join(header) or 'empty'} (columns are separated by commas)."
        )
    if twice := [c for c, n in Counter(header).items() if c and n > 1]:
        raise ValueError(
            f"{path}: several columns are named {', '.join(twice)}; rename all but one."
        )
    return [dict(zip(header, map(str.strip, cells), strict=True)) for cells in rows]


def _parsed(path: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows that are not empty, each as long as the header."""
    text, rows = files.read_text(path), []
    if "\0" in text:
        line = text.partition("\0")[0].count("\n") + 1
        raise ValueError(f"{path}: line {line} has a NUL; save the file as text.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [h.strip() for h in next(reader, [])]
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells under {len(header)} columns")
            rows.append(cells)
    except (csv.Error, ValueError) as e:
        raise ValueError(f"{path}: line {reader.line_num}: {e}.") from e
    return header, rows
