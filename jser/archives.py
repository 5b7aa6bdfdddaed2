"""Zip archives whose parts lie in them as they are, and arrays in such archives.

What an archive states is held against its size before memory is taken: neither a part
nor an array can be larger than the file it lies in. Errors are plain: `files.reading`
around these adds the path.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import io
import math
import pathlib
from typing import IO
import zipfile

import numpy as np
from numpy.lib import format as npy

_ENCRYPTED = 1  # Bit of a part's flags.
_HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


@contextlib.contextmanager
def open_stored(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """An archive whose parts are neither compressed nor encrypted.

    Raises:
      zipfile.BadZipFile: if it is another, or states more bytes than the file has.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        for part in parts:
            if part.flag_bits & _ENCRYPTED:
                raise zipfile.BadZipFile(f"{part.filename!r} is encrypted")
            if part.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile(f"{part.filename!r} is compressed")
            if part.file_size != part.compress_size:
                raise zipfile.BadZipFile(f"{part.filename!r} states two sizes")
        stated = sum(part.file_size for part in parts)
        if stated > size:
            raise zipfile.BadZipFile(f"it states {stated} bytes and has {size}")
        yield archive


def read_npz(path: pathlib.Path, leave: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of a file that `numpy.savez` wrote, without those named in `leave`.

    Raises:
      Exception: of any kind, if the file is damaged.
    """
    arrays = {}
    with open_stored(path) as archive:
        for part in archive.infolist():
            name = part.filename.removesuffix(".npy")
            if name not in leave:
                arrays[name] = _array(archive, part)
    return arrays


def open_npz(path: pathlib.Path) -> dict[str, Callable[[], np.ndarray]]:
    """How to read each array of such a file, by name, one at a time.

    Raises:
      Exception: of any kind, if the file is damaged.
    """
    with open_stored(path) as archive:
        parts = archive.infolist()
    opened = zipfile.ZipFile(path)  # Open for as long as one of them may be read.
    return {
        part.filename.removesuffix(".npy"): functools.partial(_array, opened, part)
        for part in parts
    }


def read_npy(path: pathlib.Path) -> np.ndarray:
    """The array of a file that `numpy.save` wrote.

    Raises:
      Exception: of any kind, if the file is damaged.
    """
    with path.open("rb") as f:
        return _read_npy(f, path.name, path.stat().st_size)


def _array(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(part) as f:
        return _read_npy(f, part.filename, part.file_size)


def _read_npy(f: io.BufferedIOBase | IO[bytes], name: str, total: int) -> np.ndarray:
    shape, by_columns, dtype = _HEADERS[npy.read_magic(f)](f)
    if dtype.hasobject:
        raise ValueError(f"{name!r} holds objects")
    size, there = math.prod(shape) * dtype.itemsize, total - f.tell()
    if size != there or min(shape, default=0) < 0:
        raise ValueError(f"{name!r}: {there} bytes, {size} by its header")
    array = np.frombuffer(bytearray(f.read()), dtype)
    return array.reshape(shape, order="F" if by_columns else "C")
