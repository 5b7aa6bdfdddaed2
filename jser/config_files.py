"""Config files: found by name or path, and loaded.

The packaged configs lie in `jser/configs` of a wheel, or in a checkout's `configs/`.
"""

from collections.abc import Sequence
import difflib
import importlib.util
import os
import pathlib
import traceback

from jser.config import Ensemble, Experiment

_INSTALLED = pathlib.Path(__file__).with_name("configs")
PACKAGED = (
    _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / _INSTALLED.name
)
# Fields that have another name now. A `field=value` may be in it, too.
RENAMED = {
    "data.length_levels": "data.length_buckets",
    "data.sampler=neutral_drawn": "data.sampler=neutral_balanced",
    "data.sampler=neutral_halves": "data.sampler=neutral_stratified",
    "data.sampler=class_drawn": "data.sampler=class_balanced",
}


def names() -> list[str]:
    """The packaged configs."""
    return sorted(p.stem for p in PACKAGED.glob("*.py"))


def find(config: os.PathLike | str) -> pathlib.Path:
    """The file of a config.

    Args:
      config: A path, which has a `/` or ends in `.py`; or the name of a packaged
        config. A name is never looked for in the working folder: a config is code.

    Raises:
      FileNotFoundError: if there is none, with those that are near.
    """
    text = os.fspath(config)
    if "/" not in text and not text.endswith(".py"):
        if text in names():
            return PACKAGED / f"{text}.py"
        raise FileNotFoundError(
            f"no packaged config {text!r}{near(text, names())} A file of your own needs"
            f" a / or .py: ./{text}.py"
        )
    path = pathlib.Path(text)
    if path.is_file():
        return path
    here = [p.stem for p in path.parent.glob("*.py")]
    if path.stem in names():
        mend = f"; the packaged config is {path.stem} alone, without folder and .py."
    else:
        mend = near(path.stem, here) if here else "."
    raise FileNotFoundError(f"{text}: no such config file{mend}")


def load(config: os.PathLike | str) -> Experiment | Ensemble:
    """What `get_config` of a config file returns.

    Args:
      config: As in `find`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it fails, with the line, or returns something else.
    """
    path = find(config)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.get_config()
    except Exception as e:
        raise ValueError(f"{_place(path, e)}: {type(e).__name__}: {_told(e)}") from e
    if not isinstance(made, Experiment | Ensemble):
        raise ValueError(
            f"{path}: get_config returned {type(made).__name__}; it must be an"
            " Experiment or an Ensemble of jser.config."
        )
    return made


def _place(path: pathlib.Path, error: Exception) -> str:
    """The file, and the line of it that failed."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(f.filename, f.lineno) for f in frames]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    lines = [n for file, n in places if pathlib.Path(file).resolve() == path.resolve()]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _told(error: Exception) -> str:
    """An error's first line, and the name that a field has now."""
    told = str(error).partition("\n")[0]
    for old, new in RENAMED.items():
        if f"'{old.rpartition('.')[2]}'" in told:
            return f"{told}; {old} is called {new} now."
    return told


def near(word: str, allowed: Sequence[str], prefix: str = "") -> str:
    """The end of an error: those that were perhaps meant, or else all there are."""
    if alike := difflib.get_close_matches(word, allowed, 3, 0.6):
        return f"; did you mean {' or '.join(prefix + f for f in alike)}?"
    return f"; there are {', '.join(prefix + a for a in allowed)}."
