"""Files that are either whole or absent, and the digests that name their content.

`reading` is around every parser, so that a damaged file ends in one line with its path;
`writing` around every writer, so that a full disk does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import socket
import time
from typing import Any
import uuid

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_BY_OTHERS = ("No space left on device", "Disk quota exceeded", "File too large")
_SHOWN = 300  # Characters of what a parser says.


class DiskFullError(OSError):
    """There is no room for a file."""


@contextlib.contextmanager
def reading(
    path: os.PathLike | str, remedy: str = "", what: str = "damaged"
) -> Iterator[None]:
    """Turns whatever a parser raises into a ValueError of one line with the path.

    Any byte may be damaged, so any error may come. Errors that name the path already
    pass as they are.

    Args:
      path: What is read.
      remedy: The command or deed that mends it, as a sentence.
      what: Is said to be wrong with it.

    Raises:
      ValueError: "<path>: <what> (<what the parser says>). <remedy>".
      OSError: as the system says, with the path, that a file is missing or closed.
    """
    try:
        yield
    except OSError as e:
        if e.filename is not None:
            raise
        if isinstance(e, FileNotFoundError | PermissionError):
            raise type(e)(e.errno, e.strerror, str(path)) from e
        raise ValueError(_told(path, what, e, remedy)) from e
    except Exception as e:
        if isinstance(e, ValueError) and str(e).startswith(f"{path}"):
            raise
        raise ValueError(_told(path, what, e, remedy)) from e


def _told(path: os.PathLike | str, what: str, error: BaseException, remedy: str) -> str:
    reason = " ".join(str(error).split())[:_SHOWN].rstrip(".") or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"lacks {reason}"
    return f"{path}: {what} ({reason}). {remedy}".rstrip()


def expect(value: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Refuses an object whose fields are missing or of other types.

    Args:
      value: Of a JSON file.
      kinds: The type of each field that must be there.

    Raises:
      TypeError: if it is no object, or a field is of another type.
      KeyError: if a field is missing.
    """
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__}, and no object")
    for name, kind in kinds.items():
        if not isinstance(value[name], kind):
            raise TypeError(f"{name} is a {type(value[name]).__name__}")


@contextlib.contextmanager
def writing(path: os.PathLike | str, size: int | None = None) -> Iterator[None]:
    """Names the path, and the bytes needed where known, when the disk is full.

    Other libraries say so in words or by the error behind theirs; both are looked for.

    Raises:
      DiskFullError: if there is no room; other errors pass.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as e:
        if not _is_full(e):
            raise
        needs = "" if size is None else f": needs {_megabytes(size)}"
        raise DiskFullError(
            f"no room left on the disk of {path}{needs}. Make room and run the same"
            " command again."
        ) from e


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(words in str(error) for words in _FULL_BY_OTHERS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:.0f} MB"


def write_atomically(path: os.PathLike | str, content: bytes | str) -> None:
    """Writes `content` so that a reader sees the old file or the new one, never half.

    The temporary file lies beside `path`, is flushed to disk and then renamed. One that
    a killed process of this machine left of the same file is removed.
    """
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    mine = f".{path.name}.{socket.gethostname()}."
    _remove_abandoned(path.parent, mine)
    temporary = path.with_name(f"{mine}{uuid.uuid4().hex[:8]}.tmp")
    try:
        with writing(path, len(data)):
            with temporary.open("wb") as f:
                _try_to_lock(f.fileno())
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _remove_abandoned(folder: pathlib.Path, prefix: str) -> None:
    """Removes temporary files that no process writes to any more."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and name.endswith(".tmp"):
            path = folder / name
            gone_or_anothers = (FileNotFoundError, PermissionError)
            with contextlib.suppress(*gone_or_anothers), path.open("r+b") as f:
                # One that is new may be about to be locked.
                old = time.time() - os.fstat(f.fileno()).st_mtime > 1
                if old and _try_to_lock(f.fileno()):
                    path.unlink()


def _try_to_lock(descriptor: int) -> bool:
    """Whether a file is locked for this process now, as it is until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # Another's, or in a file system without locks.
        return False
    return True


def write_json(path: os.PathLike | str, value: Any) -> None:
    """Writes `value` as indented JSON with a final newline, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")


def read_text(path: os.PathLike | str) -> str:
    """Reads a text file in UTF-8, without its byte order mark; line ends stay.

    Raises:
      ValueError: naming the file and line, if it is not UTF-8.
    """
    data = pathlib.Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise ValueError(
            f"{path}: line {line} is not UTF-8; save the file as UTF-8."
        ) from e


def read_json(path: os.PathLike | str, remedy: str = "") -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: if it is not JSON, naming the file and the remedy.
    """
    with reading(path, remedy, "not valid JSON"):
        return json.loads(pathlib.Path(path).read_bytes().decode("utf-8"))


def read_record(
    path: os.PathLike | str,
    migrations: Sequence[Callable[[dict], dict]] = (),
    remedy: str = "",
) -> dict[str, Any]:
    """A record (a JSON object with a schema number) in the schema of today.

    Args:
      path: Of the file; without a number it is of schema 1.
      migrations: From schema 1 to 2, from 2 to 3, and so on; today's is the last.
      remedy: What mends a damaged one, as a sentence.

    Raises:
      ValueError: if it is no JSON object, or was written in a schema of tomorrow.
    """
    record = read_json(path, remedy)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: not a JSON object. {remedy}".rstrip())
    refuse_newer(path, record.get("schema", 1), len(migrations) + 1)
    with reading(path, remedy):
        for migrate in migrations[record.get("schema", 1) - 1 :]:
            record = migrate(record)
    return record


def refuse_newer(path: os.PathLike | str, schema: object, known: int) -> None:
    """Raises ValueError unless a file's schema number is one up to `known`."""
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise ValueError(f"{path}: damaged (its schema is no number from 1 up).")
    if schema > known:
        raise ValueError(
            f"{path}: of schema {schema!r}, and this version of jser reads 1 to"
            f" {known}. It was made by a newer one: pip install --upgrade jser."
        )


def digest(*parts: bytes | str) -> str:
    """The first 16 hex digits of the SHA-256 of `parts`, each length-prefixed."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:16]


def file_digest(path: os.PathLike | str) -> str:
    """The first 16 hex digits of the SHA-256 of the file's bytes."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()[:16]
