"""A bundle on the Hugging Face hub."""

import pathlib
import shlex

from jser.encoders import hub
from jser.recognizer import bundle, model_card, models


def check(name: str, license_: str | None) -> None:
    """Refuses before a model is made what `push` would refuse after it.

    Raises:
      ValueError: if the name is none of the hub, or nobody would know what may be done
        with the model.
    """
    if not hub.is_hub_name(name):
        raise ValueError(f"--push={name}: it reads as <owner>/<name>.")
    if not license_ or license_.lower() == model_card.UNKNOWN_LICENSE:
        raise ValueError(
            "--push: a model that others get needs a --license, as cc-by-4.0; that of"
            " the corpus it learned from may forbid some."
        )


def push(folder: pathlib.Path, name: str, *, private: bool = False) -> str:
    """Sends a bundle to the hub; returns its address.

    What an earlier model of that name had and this one has not is deleted there.

    Args:
      folder: Of the bundle.
      name: `<owner>/<name>`.
      private: Whether a repository that has to be made is private.

    Raises:
      ConnectionError: if the hub does not take it, with the command that sends it
        later.
      ValueError: if it is damaged, or its card names no license.
    """
    import huggingface_hub

    check(name, str(bundle.load(folder).about.get("license", "")))
    api, wanted = huggingface_hub.HfApi(), [*map(str, bundle.FILES)]
    try:
        api.create_repo(name, exist_ok=True, private=private)
        sent = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=wanted,
            delete_patterns=wanted,
            commit_message="A model of jser",
        )
    except Exception as e:  # Its releases raise errors of different HTTP clients.
        raise ConnectionError(
            f"{name}: not sent to the hub ({models.hub_said(e)}). The model is made: hf"
            f" auth login, then hf upload {name} {shlex.quote(str(folder))} ."
        ) from e
    return str(sent)
