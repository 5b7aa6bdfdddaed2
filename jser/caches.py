"""Where compiled code is kept from run to run: in folders that others cannot write to.

Such code is run when it is read again, so a folder of everybody's will not do.
"""

import contextlib
import functools
import importlib.util
import os
import pathlib
import stat
import tempfile


def choose(folder: str) -> pathlib.Path:
    """The folder, made if need be; a private temporary one where that cannot be.

    Raises:
      ValueError: if the temporary one is not ours alone.
    """
    try:
        path = pathlib.Path(folder).expanduser()
    except RuntimeError:  # There is no home.
        return _temporary()
    return path if _is_writable(path) else _temporary()


@functools.cache
def for_numba() -> None:
    """Says where librosa's compiled code goes, if not where numba would put it.

    That is beside librosa, or in the home; numba fails where it may write to neither.
    It reads this when it is imported.

    Raises:
      ValueError: if the temporary folder is not ours alone.
    """
    spec = importlib.util.find_spec("librosa")
    beside = (spec and spec.submodule_search_locations) or []
    if "NUMBA_CACHE_DIR" in os.environ or any(
        _is_writable(pathlib.Path(folder) / "core" / "__pycache__") for folder in beside
    ):
        return
    home = choose(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if home == _temporary_path():
        os.environ["NUMBA_CACHE_DIR"] = str(home / "numba")


def _is_writable(folder: pathlib.Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _temporary_path() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"jser-{os.getuid()}"


def _temporary() -> pathlib.Path:
    """A folder that is ours, and into which nobody else may look."""
    path = _temporary_path()
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not ours or found.st_mode & 0o077:
        raise ValueError(
            f"{path}: another user owns it or may look into it, so compiled code is not"
            " kept there. Remove it, or set JSER_CACHE and NUMBA_CACHE_DIR to folders"
            " of your own."
        )
    return path
