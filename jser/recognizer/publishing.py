"""A bundle on the Hugging Face hub."""

import pathlib

from jser.recognizer import bundle, model_card


def refuse_without_license(license_: str | None) -> None:
    """Raises ValueError where nobody would know what may be done with a model."""
    if not license_ or license_.lower() == model_card.UNKNOWN_LICENSE:
        raise ValueError(
            "--push: a model that others get needs a --license, as cc-by-4.0; that of"
            " the corpus it learned from may forbid some."
        )


def push(folder: pathlib.Path, name: str, *, private: bool = False) -> str:
    """Sends a bundle to the hub; returns its address.

    Args:
      folder: Of the bundle.
      name: `<owner>/<name>`.
      private: Whether a repository that has to be made is private.

    Raises:
      ValueError: if it is damaged, or its card names no license.
    """
    import huggingface_hub

    refuse_without_license(str(bundle.load(folder).about.get("license", "")))
    api = huggingface_hub.HfApi()
    api.create_repo(name, exist_ok=True, private=private)
    sent = api.upload_folder(
        repo_id=name,
        folder_path=folder,
        allow_patterns=list(bundle.FILES),
        commit_message="A model of jser",
    )
    return str(sent)
