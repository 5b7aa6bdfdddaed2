"""Files that are either whole or absent, and the digests that name their content."""

from collections.abc import Callable, Sequence
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import socket
import time
from typing import Any
import uuid


def write_atomically(path: os.PathLike | str, content: bytes | str) -> None:
    """Writes `content` so that a reader sees the old file or the new one, never half.

    The temporary file lies beside `path`, is flushed to disk and then renamed. One that
    a killed process of this machine left of the same file is removed.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    mine = f".{path.name}.{socket.gethostname()}."
    _remove_abandoned(path.parent, mine)
    temporary = path.with_name(f"{mine}{uuid.uuid4().hex[:8]}.tmp")
    try:
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
            with contextlib.suppress(FileNotFoundError), path.open("r+b") as f:
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


def read_json(path: os.PathLike | str) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: if it is not JSON, naming the file.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise ValueError(f"{path}: not valid JSON ({e})") from e


def read_record(
    path: os.PathLike | str, migrations: Sequence[Callable[[dict], dict]] = ()
) -> dict[str, Any]:
    """A record (a JSON object with a schema number) in the schema of today.

    Args:
      path: Of the file; without a number it is of schema 1.
      migrations: From schema 1 to 2, from 2 to 3, and so on; today's is the last.

    Raises:
      ValueError: if it is no JSON object, or was written in a schema of tomorrow.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: not a JSON object.")
    refuse_newer(path, record.get("schema", 1), len(migrations) + 1)
    for migrate in migrations[record.get("schema", 1) - 1 :]:
        record = migrate(record)
    return record


def refuse_newer(path: os.PathLike | str, schema: object, known: int) -> None:
    """Raises ValueError unless a file's schema number is one up to `known`."""
    if not isinstance(schema, int) or not 1 <= schema <= known:
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
