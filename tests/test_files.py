import errno
import os
import zipfile

import pytest

from jser import files


class OddError(Exception):
    """Of a library that knows no ValueError."""


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (ValueError("no\nsuch  thing."), "no such thing"),
        (KeyError("labels"), "lacks 'labels'"),
        (OddError("odd"), "odd"),
        (MemoryError(), "MemoryError"),
        (RecursionError("too deep"), "too deep"),
        (zipfile.BadZipFile("not a zip"), "not a zip"),
        (OSError("no npz"), "no npz"),
        (OSError(errno.EINVAL, "Invalid argument"), "Invalid argument"),
        (ValueError("x" * 10_000), "x" * 300),
    ],
)
def test_what_a_parser_raises_becomes_a_line_with_path_and_remedy(raised, reason):
    with (
        pytest.raises(ValueError, match="damaged") as e,
        files.reading("a/b.npz", "Remove it."),
    ):
        raise raised
    told = str(e.value)
    assert told.startswith("a/b.npz: damaged (")
    assert told.endswith(f"{reason}). Remove it.")
    assert "\n" not in told
    assert e.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b.npz"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("a/b.npz: of schema 99, and this version reads 1."),
    ],
)
def test_what_names_the_path_keeps_its_kind(raised):
    with pytest.raises(type(raised), match=r"a/b\.npz") as e, files.reading("a/b.npz"):
        raise raised
    assert "damaged" not in str(e.value)


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"", b'{"schema": 0}', b"[]"],
)
def test_a_record_that_is_none_is_named_with_its_remedy(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: ") as e:
        files.read_record(path, remedy="Run it again.")
    assert "\n" not in str(e.value)


def by_others(_) -> None:
    """As Orbax and ArrayRecord say it: in words, by an error behind theirs."""
    try:
        raise RuntimeError("RESOURCE_EXHAUSTED: No space left on device")
    except RuntimeError as e:
        raise ValueError("not written") from e


def by_the_system(_) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def by_a_quota(_) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


@pytest.mark.parametrize("fails", [by_the_system, by_a_quota, by_others])
def test_a_full_disk_names_path_and_room_and_leaves_nothing(
    tmp_path, monkeypatch, fails
):
    path = tmp_path / "a.bin"
    path.write_bytes(b"as it was")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(files.DiskFullError) as e:
        files.write_atomically(path, bytes(12_000_000))
    assert str(e.value).startswith(f"no room left on the disk of {path}: needs 12 MB.")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"as it was"


def test_other_failures_of_a_writer_pass(tmp_path):
    with pytest.raises(IsADirectoryError):
        files.write_atomically(tmp_path, b"")
