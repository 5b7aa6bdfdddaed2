"""Models by folder, by the names that come along, and by those of the hub."""

import shutil

from huggingface_hub import constants
import pytest

from jser.recognizer import bundle, models

NAME = "me/model"
FUNCTIONALS = models.find("emodb-functionals")


def files_of(card: str) -> dict[str, bytes]:
    """A model that comes along, under a card of its own."""
    kept = {p.name: p.read_bytes() for p in FUNCTIONALS.iterdir()}
    return kept | {bundle.CARD: card.encode(), "video.mp4": b"large"}


def test_a_revision_is_fetched_and_the_newest_else(hub):
    hub.commits[NAME] = [files_of("first"), files_of("second")]
    first = models.find(NAME, hub.sha(NAME, 0))
    assert bundle.load(first).card == "first"
    assert bundle.load(models.find(NAME)).card == "second"
    assert bundle.load(models.find(NAME, "main")).card == "second"
    assert not (first / "video.mp4").exists()


def test_what_was_fetched_is_found_without_a_network(hub, monkeypatch):
    hub.commits[NAME] = [files_of("first")]
    fetched = models.find(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert models.find(NAME) == fetched
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert models.find(NAME) == fetched


def refused(name: str, revision: str | None = None) -> str:
    with pytest.raises(FileNotFoundError) as e:
        models.find(name, revision)
    assert "\n" not in str(e.value)
    assert "which come along" in str(e.value)
    return str(e.value)


def test_what_the_hub_has_not_is_told_in_one_line(hub, monkeypatch):
    hub.commits[NAME] = [files_of("first")]
    assert "nobody/nothing: not fetched from the hub" in refused("nobody/nothing")
    assert "me/model: not fetched from the hub" in refused(NAME, "of_tomorrow")
    assert "not fetched from the hub" in refused("me/no--model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "me/model: not fetched from the hub" in refused(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "me/model: not fetched from the hub" in refused(NAME)


def test_a_repository_of_another_kind_is_no_model(hub):
    hub.commits[NAME] = [{"README.md": b"hello", "pytorch_model.bin": b"x"}]
    with pytest.raises(FileNotFoundError, match="no model there"):
        bundle.load(models.find(NAME))


def test_folders_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "model").mkdir(parents=True)
    assert models.find(NAME).resolve() == (tmp_path / "me" / "model").resolve()
    for name in models.NAMES:
        assert bundle.load(models.find(name)).name == name
    assert "no such folder" in refused("none")


def test_a_name_that_is_near_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FUNCTIONALS, tmp_path / "made" / "my-model")
    wanted = {
        "emodb-function": "Did you mean emodb-functionals?",
        "emodb_whisper": "Did you mean emodb-whisper-base?",
        "made/deep/my-model": "",
        "made/my-modle": "Did you mean made/my-model?",
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name, meant in wanted.items():
        assert refused(name).endswith(meant or "which come along.")
    with pytest.raises(FileNotFoundError, match=r"made: no .* mean made/my-model\?"):
        bundle.load(models.find("made"))


def test_a_run_is_no_model(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / bundle.CONFIG).write_text('{"schema": 2}')
    with pytest.raises(ValueError, match="a run, and no model; jser bundle --workdir"):
        bundle.load(tmp_path)


def test_a_revision_is_of_the_hub(tmp_path):
    for name in (tmp_path, "emodb-functionals"):
        with pytest.raises(ValueError, match=f"'main': of a model .*{name} is here"):
            models.find(name, "main")
