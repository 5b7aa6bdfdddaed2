"""What goes to the hub is what comes from it."""

import dataclasses

import pytest

from jser.recognizer import bundle, models, publishing
from jser.recognizer.bundle import Bundle
from jser.recognizer.recognizer import Recognizer
from tests.helpers import tiny_corpus

NAME = "me/model"


@pytest.fixture
def model() -> Bundle:
    """A model that comes along, with a license."""
    given = bundle.load(models.find("emodb-functionals"))
    return dataclasses.replace(given, about={**given.about, "license": "cc-by-4.0"})


def test_a_model_that_is_sent_is_loaded_by_its_name(hub, model, tmp_path):
    model.save(tmp_path / "made")
    (tmp_path / "made" / "notes.txt").write_text("mine alone")
    sent = publishing.push(tmp_path / "made", NAME, private=True)
    assert sent == f"{hub.url}/{NAME}/commit/{hub.sha(NAME)}"
    assert hub.private == {NAME: True}
    assert set(hub.commits[NAME][-1]) <= {*bundle.FILES, ".gitattributes"}
    found, own = Recognizer.load(NAME), Recognizer(model)
    assert (found.digest, found.card) == (own.digest, own.card)
    sound = tiny_corpus.tone(200, 0.5), 16_000
    assert found(sound).scores == own(sound).scores


def test_what_a_model_has_no_longer_is_not_left_on_the_hub(hub, model, tmp_path):
    first = {bundle.CARD: b"old", "stacker.skops": b"old", "mine.txt": b"theirs"}
    hub.commits[NAME] = [first]
    model.save(tmp_path / "made")
    publishing.push(tmp_path / "made", NAME)
    now = hub.commits[NAME][-1]
    assert set(now) == {p.name for p in (tmp_path / "made").iterdir()} | {"mine.txt"}
    assert now[bundle.CARD] == model.card.encode()


def test_a_hub_that_does_not_take_it_is_told_with_what_sends_it(hub, model, tmp_path):
    folder = tmp_path / "made of it"
    model.save(folder)
    hub.writable = False
    with pytest.raises(ConnectionError, match=r"me/model: not sent .*401") as e:
        publishing.push(folder, NAME)
    assert "\n" not in str(e.value)
    assert str(e.value).endswith(f"then hf upload {NAME} '{folder}' .")


@pytest.mark.parametrize("license_", ["unknown", "", None])
def test_a_model_without_a_license_is_not_sent(hub, model, tmp_path, license_):
    about = {**model.about, "license": license_ or ""}
    dataclasses.replace(model, about=about).save(tmp_path / "made")
    for refuses in (
        lambda: publishing.push(tmp_path / "made", NAME),
        lambda: publishing.check(NAME, license_),
    ):
        with pytest.raises(ValueError, match=r"--push: .* needs a --license"):
            refuses()
    assert not hub.commits


@pytest.mark.parametrize("name", ["model", "a/b/c", "./model", ""])
def test_a_name_that_is_none_of_the_hub_is_not_sent(name):
    with pytest.raises(ValueError, match="it reads as <owner>/<name>"):
        publishing.check(name, "cc-by-4.0")
