import zipfile

import numpy as np
import pytest

from jser import archives


def header(path, shape, dtype="<f4", content=b"") -> None:
    """An archive with one array that states a shape and has `content` for it."""
    described = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"
    length = len(described).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w") as archive:
        data = b"\x93NUMPY\x01\x00" + length + described.encode() + content
        archive.writestr("x.npy", data)


def test_arrays_are_numpys(tmp_path, rng):
    path = tmp_path / "a.npz"
    want = {
        "plain": rng.standard_normal((3, 4)).astype(np.float16),
        "columns": np.asfortranarray(rng.standard_normal((3, 4))),
        "text": np.array(["a", "hä"]),
        "empty": np.zeros((0, 7), np.int32),
        "number": np.array(3),
    }
    np.savez(path, **want)
    got = archives.read_npz(path, leave=("number",))
    assert set(got) == set(want) - {"number"}
    for name, array in got.items():
        assert array.dtype == want[name].dtype
        np.testing.assert_array_equal(array, want[name])
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1 << 50,), "<f4", "4503599627370496 by its header"),
        ((2, -2), "<f4", "by its header"),
        ((4,), "|O", "objects"),
        ((3,), "<f4", "16 bytes, 12 by its header"),
    ],
)
def test_what_an_array_states_is_held_against_what_is_there(
    tmp_path, shape, dtype, message
):
    header(tmp_path / "a.npz", shape, dtype, bytes(16))
    with pytest.raises(ValueError, match=message):
        archives.read_npz(tmp_path / "a.npz")


def test_parts_that_are_compressed_or_state_too_much_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(1 << 20))
    with pytest.raises(zipfile.BadZipFile, match="compressed"):
        archives.read_npz(path)
    np.savez(path, x=np.zeros(4), y=np.ones(4))
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    for at, value, message in (
        (8, b"\x01\x00", "encrypted"),
        (20, b"\xf0\xff\xff\x7f", "two sizes"),
        (20, b"\xf0\xff\xff\x7f\xf0\xff\xff\x7f", "states 2147483"),
    ):
        start = entry + at
        path.write_bytes(data[:start] + value + data[start + len(value) :])
        with pytest.raises(zipfile.BadZipFile, match=message):
            archives.read_npz(path)
