"""PyTorch files made by hand, to cost what their size does not tell."""

import pickle
import re
import zipfile

import numpy as np
import pytest

from jser.encoders import torch_file

MARK, TUPLE, TUPLE2, STOP = pickle.MARK, pickle.TUPLE, pickle.TUPLE2, pickle.STOP
EMPTY_DICT, SETITEM, REDUCE = pickle.EMPTY_DICT, pickle.SETITEM, pickle.REDUCE
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
ZERO = b"K\x00"
STORAGE = b"ctorch\nFloatStorage\n"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def doubled(times: int) -> bytes:
    """A tuple of twice the same tuple of twice the same tuple ..."""
    steps = (b"q%ch%c" % (k, k) + TUPLE2 for k in range(times))
    return b")" + b"".join(steps)


def numbers(*values: int) -> bytes:
    return (
        MARK + b"".join(b"\x8a\x08%b" % v.to_bytes(8, "little") for v in values) + TUPLE
    )


def tensor(*, key=None, offset=ZERO, shape=None, strides=None) -> bytes:
    persistent = MARK + text("storage") + STORAGE + (key or text("0")) + TUPLE + b"Q"
    layout = (shape or numbers(2)) + (strides or numbers(1))
    return TENSOR + MARK + persistent + offset + layout + TUPLE + REDUCE


def write(path, value: bytes, name: bytes = text("w"), storage=bytes(8)):
    data = b"\x80\x02" + EMPTY_DICT + name + value + SETITEM + STOP
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", storage)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


def test_one_made_by_hand_is_read(path):
    write(path, tensor(), storage=np.float32([1, 2]).tobytes())
    ((name, value),) = torch_file.read(path)
    assert name == "w"
    np.testing.assert_array_equal(value, [1, 2])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (doubled(120), text("w")),
        (tensor(), doubled(120)),
        (tensor(key=doubled(120)), text("w")),
        (tensor(offset=doubled(120)), text("w")),
        (tensor(shape=doubled(120)), text("w")),
        (tensor(strides=doubled(120)), text("w")),
        (doubled(120) + b")" + REDUCE, text("w")),
        (MARK + text("storage") + doubled(120) + text("0") + TUPLE + b"Q", text("w")),
        (tensor(shape=numbers(1 << 40), strides=numbers(0)), text("w")),
        (tensor(shape=numbers(*[1] * 99), strides=numbers(*[1] * 99)), text("w")),
        (text("x" * 100_000) + b")" + REDUCE, text("w")),
        (b"K\x01", text("n" * 100_000)),
    ],
)
def test_what_is_small_on_disk_alone_is_refused(path, value, name):
    """Any of these, shown or compared as it is, takes all time and memory there is."""
    write(path, value, name)
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as e:
        list(torch_file.read(path))
    assert len(str(e.value)) < 500
    assert "\n" not in str(e.value)


def test_a_storage_that_many_share_is_read_once(path, monkeypatch):
    items = b"".join(text(f"w{k}") + tensor() for k in range(4))
    data = b"\x80\x02" + EMPTY_DICT + MARK + items + pickle.SETITEMS + STOP
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", bytes(8))
    read, told = zipfile.ZipFile.read, []
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda z, n: told.append(str(n)) or read(z, n)
    )
    assert len(list(torch_file.read(path))) == 4
    assert told.count("a/data/0") == 1


def test_compressed_and_encrypted_parts_are_refused(path):
    write(path, tensor())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: damaged.*compressed"):
        list(torch_file.read(path))
