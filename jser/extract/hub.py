"""Where a checkpoint lies: in a folder of one's own, or in the hub's cache."""

import pathlib
import re


def folder(given: str) -> pathlib.Path:
    """The folder of a checkpoint given as a path or as the hub's `owner/model`.

    Nothing is fetched; a model that is not in the cache yet is asked for by name.

    Raises:
      FileNotFoundError: if it is neither, with the command that fetches it.
    """
    path = pathlib.Path(given)
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", given):
        raise FileNotFoundError(
            f"{given}: no such folder, and no owner/model of the hub either."
        )
    import huggingface_hub

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(given, local_files_only=True)
        )
    except huggingface_hub.errors.LocalEntryNotFoundError as e:
        raise FileNotFoundError(
            f"{given}: no such folder, and not in the hub's cache. Fetch it:"
            f" hf download {given}"
        ) from e
