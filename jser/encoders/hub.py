"""Where a checkpoint's files lie: a folder of yours, or the cache of the hub."""

import os
import pathlib

from jser.encoders import weights

# Not every file: some checkpoints come in several formats and precisions.
_SMALL = ("*.json", "*.txt", "*.model")
_SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors")
_PYTORCH = ("pytorch_model.bin",)


def folder(checkpoint: pathlib.Path | str, files: tuple[str, ...] = ()) -> pathlib.Path:
    """The folder of a checkpoint, fetched if it is nowhere here and the hub is.

    Args:
      checkpoint: A folder, or a name `<owner>/<model>` of the Hugging Face hub. Of
        that, the cache is asked first (`$HF_HOME`).
      files: What the checkpoint consists of, if it is not config.json and weights as
        `weights.read_tensors` reads them.

    Raises:
      FileNotFoundError: if it is in neither place, with the command that fetches it.
    """
    path = pathlib.Path(checkpoint).expanduser()
    if path.is_dir():
        return path
    name = os.fspath(checkpoint)
    if not is_hub_name(name):
        raise FileNotFoundError(
            f"{name}: no such folder, and no <owner>/<model> of the hub."
        )
    if (cached := _cached(name, files)) is not None:
        return cached
    for wanted in (files,) if files else (_SMALL + _SAFETENSORS, _SMALL + _PYTORCH):
        fetched = _snapshot(name, wanted, local=False)
        if fetched is not None and _whole(fetched, files):
            return fetched
    raise FileNotFoundError(
        f"{name}: not whole in the cache of the hub, and not fetched. Where there is a"
        f" network: hf download {' '.join((name, *files))}. Or give its folder as the"
        " weights."
    )


def is_here(name: str) -> bool:
    """Whether a checkpoint of the hub is whole in its cache; nothing is fetched."""
    return _cached(name, ()) is not None


def is_hub_name(checkpoint: str) -> bool:
    """Whether it can be `<owner>/<model>`."""
    owner, slash, model = checkpoint.partition("/")
    return bool(slash and owner.strip(".~") and model) and "/" not in model


def _cached(name: str, files: tuple[str, ...]) -> pathlib.Path | None:
    cached = _snapshot(name, None, local=True)
    return cached if cached is not None and _whole(cached, files) else None


def _snapshot(
    name: str, wanted: tuple[str, ...] | None, *, local: bool
) -> pathlib.Path | None:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                name,
                allow_patterns=None if wanted is None else list(wanted),
                local_files_only=local,
            )
        )
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, FileNotFoundError):
        return None  # The caller says so.


def _whole(folder: pathlib.Path, files: tuple[str, ...]) -> bool:
    if files:
        return all((folder / f).is_file() for f in files)
    try:
        weights.files_of(folder)
    except FileNotFoundError:
        return False
    return (folder / "config.json").is_file()
