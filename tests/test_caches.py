import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import pytest

from jser import caches
from jser.training import compilation


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> pathlib.Path:
    """Where our private temporary folder would lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"jser-{os.getuid()}"


@pytest.fixture
def closed(tmp_path) -> pathlib.Path:
    """A path at which no folder can be made, whoever runs the tests."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


def test_a_folder_that_can_be_written_to_is_taken(tmp_path, temporary):
    assert caches.choose(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []
    assert not temporary.exists()


def test_else_a_private_one(closed, temporary):
    assert caches.choose(str(closed)) == temporary
    assert temporary.stat().st_mode & 0o777 == 0o700
    assert caches.choose(str(closed)) == temporary


def test_without_a_home(temporary, monkeypatch):
    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "expanduser", homeless)
    assert caches.choose("~/.cache/jser") == temporary


@pytest.mark.parametrize("fault", ["open", "link", "file"])
def test_a_temporary_folder_of_others_is_refused(closed, temporary, fault):
    if fault == "open":
        temporary.mkdir()
        temporary.chmod(0o770)
    elif fault == "link":
        (closed.parents[1] / "elsewhere").mkdir(mode=0o700)
        temporary.symlink_to(closed.parents[1] / "elsewhere")
    else:
        temporary.touch()
    with pytest.raises(ValueError, match=rf"{temporary.name}: another user owns it"):
        caches.choose(str(closed))


def test_a_temporary_folder_of_another_owner_is_refused(closed, temporary, monkeypatch):
    caches.choose(str(closed))
    me = os.getuid()
    monkeypatch.setattr(caches, "_temporary_path", lambda: temporary)
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(ValueError, match=r"another user owns it .* set JSER_CACHE"):
        caches.choose(str(closed))


@pytest.fixture
def librosa_in(monkeypatch):
    """Makes librosa seem to lie in a folder."""

    def put(folder: pathlib.Path) -> None:
        spec = importlib.machinery.ModuleSpec("librosa", None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
        monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # Comes back after the test.
        monkeypatch.delenv("NUMBA_CACHE_DIR")
        caches.for_numba.cache_clear()

    return put


def test_numba_is_let_alone_where_it_can_write(
    tmp_path, closed, temporary, librosa_in, monkeypatch
):
    librosa_in(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))
    caches.for_numba()
    librosa_in(closed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    caches.for_numba()
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert not temporary.exists()


def test_numba_gets_a_private_folder_where_it_cannot(
    closed, temporary, librosa_in, monkeypatch
):
    librosa_in(closed)
    monkeypatch.setenv("XDG_CACHE_HOME", str(closed))
    caches.for_numba()
    assert os.environ["NUMBA_CACHE_DIR"] == str(temporary / "numba")


def test_what_is_told_is_told_before_librosa_is_imported():
    program = (
        "import sys; from jser import caches; real = caches.for_numba;"
        "caches.for_numba = lambda: print('librosa' in sys.modules, real());"
        "from jser.features import acoustic"
    )
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout == "False None\n"


def test_jax_gets_a_private_folder_too(closed, temporary, monkeypatch):
    told = []
    monkeypatch.setenv("JSER_CACHE", str(closed))
    monkeypatch.setattr(compilation.jax.config, "update", lambda *x: told.append(x))
    assert compilation.enable_cache() == temporary / "xla"
    assert told[0] == ("jax_compilation_cache_dir", str(temporary / "xla"))


def test_programs_are_freed_before_they_fill_the_process(monkeypatch):
    twice = jax.jit(lambda x: 2 * x)
    twice(1.0)
    compilation.free_programs()
    assert twice._cache_size() == 1
    monkeypatch.setattr(compilation, "_MOST_MAPS", 0)
    compilation.free_programs()
    assert twice._cache_size() == 0
