"""Where a model lies: a folder, one that comes along, or the Hugging Face hub."""

import difflib
import os
import pathlib

from jser.encoders import hub
from jser.recognizer import bundle

_HERE = pathlib.Path(__file__).parent / "models"
DEFAULT = "emodb-whisper-base"
NAMES = ("emodb-functionals", DEFAULT)
_SHOWN = 300  # Characters of what the hub says.


def find(model: os.PathLike | str, revision: str | None = None) -> pathlib.Path:
    """The folder of a model, fetched if it is on the hub and nowhere here.

    Raises:
      FileNotFoundError: if there is none, with those that come along.
      ValueError: if there is a revision, and the model is none of the hub.
    """
    name, folder = os.fspath(model), pathlib.Path(model).expanduser()
    if name in NAMES and not folder.is_dir():
        folder = _HERE / name
    if folder.is_dir():
        if revision:
            raise ValueError(
                f"revision {revision!r}: of a model on the hub, and {name} is here."
            )
        return folder
    if hub.is_hub_name(name):
        return _fetched(name, revision)
    raise FileNotFoundError(
        f"{name}: no such folder, no <owner>/<model> of the hub, and none of"
        f" {', '.join(NAMES)}, which come along.{_perhaps(folder)}"
    )


def _perhaps(folder: pathlib.Path) -> str:
    """Models whose names are alike, to end an error."""
    beside = [str(path.parent) for path in folder.parent.glob(f"*/{bundle.TENSORS}")]
    alike = difflib.get_close_matches(str(folder), [*NAMES, *sorted(beside)])
    return f" Did you mean {' or '.join(alike)}?" if alike else ""


def hub_said(error: Exception) -> str:
    """The hub's many lines as a short one."""
    return " ".join(str(error).split())[:_SHOWN]


def _fetched(name: str, revision: str | None) -> pathlib.Path:
    import huggingface_hub

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(bundle.FILES)
            )
        )
    except Exception as e:  # Its releases raise errors of different HTTP clients.
        raise FileNotFoundError(
            f"{name}: not fetched from the hub ({hub_said(e)}). Give a folder, or"
            f" {' or '.join(NAMES)}, which come along."
            f"{_perhaps(pathlib.Path(name))}"
        ) from e
