"""Checkpoints by folder and by name, in a cache made here; no network is asked."""

import json

import huggingface_hub
from huggingface_hub import constants, errors
import pytest

from jser.encoders import hub
from jser.features import frontends

NAME = "owner/model"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The folder of the model's snapshot in an empty cache, off-line."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = tmp_path / "models--owner--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(REVISION)
    folder = model / "snapshots" / REVISION
    folder.mkdir(parents=True)
    return folder


def write(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"tensors")


def test_a_name_is_found_in_the_cache(snapshot):
    write(snapshot, model_type="roberta", hidden_size=8, num_hidden_layers=3)
    assert hub.folder(NAME) == snapshot
    assert hub.folder(snapshot) == snapshot
    spec = frontends.open("roberta", weights=NAME).spec
    assert (spec.model, spec.width, spec.layers) == (NAME, 8, 1)
    assert frontends.open("roberta", weights=snapshot).spec.weights == spec.weights


def test_what_is_not_whole_comes_with_the_command_that_fetches_it(snapshot):
    write(snapshot)
    (snapshot / "model.safetensors").unlink()
    for name in (NAME, "nobody/nothing"):
        with pytest.raises(FileNotFoundError, match=f"hf download {name}"):
            hub.folder(name)
    with pytest.raises(FileNotFoundError, match="hf download openai/whisper-large-v3"):
        frontends.open("whisper_large_v3")
    with pytest.raises(
        FileNotFoundError, match=r"hf download amphion/naturalspeech3_facodec ns3_\S+_"
    ):
        frontends.open("facodec")


def test_neither_a_folder_nor_a_name_is_refused(tmp_path):
    for name in ("model", "./model", "~/model", str(tmp_path / "x"), "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            hub.folder(name)


def test_only_the_files_that_are_read_are_fetched(tmp_path, monkeypatch):
    asked = []

    def download(name, *, allow_patterns, local_files_only):
        asked.append(allow_patterns)
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not here")
        write(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        if "pytorch_model.bin" in allow_patterns:
            (tmp_path / "pytorch_model.bin").write_bytes(b"tensors")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.folder(NAME) == tmp_path
    assert asked[0] is None
    assert "model.safetensors" in asked[1]
    assert "pytorch_model.bin" in asked[2]
    assert all("*.msgpack" not in patterns for patterns in asked[1:])
