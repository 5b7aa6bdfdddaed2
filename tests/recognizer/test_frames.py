"""A model opens the weights that it was trained with, in whatever file they come."""

import pathlib
import shutil

import numpy as np
import pytest

from jser.features import frontends
from jser.recognizer import frames
from jser.recognizer.frames import FrameMaker
from tests.helpers import tiny_whisper

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

NAME = "whisper@all.trimmed.pooled"
SOUNDS = [tiny_whisper.sound(seed, 0.6) for seed in range(2)]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> pathlib.Path:
    """Holds the folder of a tiny Whisper, and others with its weights."""
    home = tmp_path_factory.mktemp("whisper")
    model = tiny_whisper.make(home / "trained")
    state = {n: x.clone() for n, x in model.state_dict().items()}
    model.half().save_pretrained(beside(home, "float16"))
    torch.save(state, beside(home, "pytorch") / "pytorch_model.bin")
    encoder = {
        n.removeprefix("model."): x for n, x in state.items() if ".encoder." in n
    }
    torch.save(encoder, beside(home, "encoder") / "pytorch_model.bin")
    tiny_whisper.make(home / "other", seed=4)
    name = "model.encoder.layer_norm.weight"
    state[name] = state[name] * 1.001
    torch.save(state, beside(home, "nearly") / "pytorch_model.bin")
    return home


def beside(home: pathlib.Path, name: str) -> pathlib.Path:
    """A copy of the folder without weights."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return shutil.copytree(home / "trained", home / name, ignore=ignored)


@pytest.fixture(scope="module")
def described(home) -> dict:
    """The front end as a bundle keeps it."""
    weights = {"whisper": home / "trained"}
    spec = frontends.open(NAME, weights=home / "trained").spec.described()
    return {NAME: frames.describe(NAME, spec, weights)}


def heard(described, folder) -> list[np.ndarray]:
    made = FrameMaker(described, {"whisper": folder})(SOUNDS, [None, None])
    return [x.astype(np.float32) for x in made[NAME]]


@pytest.mark.parametrize(
    "name",
    [
        "float16",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("pytorch", "encoder")),
    ],
)
def test_the_same_weights_in_another_file_are_those(home, described, name):
    for got, want in zip(
        heard(described, home / name), heard(described, home / "trained"), strict=True
    ):
        atol = 0.02 if name == "float16" else 0
        np.testing.assert_allclose(got, want, atol=atol * np.abs(want).max())


@pytest.mark.parametrize("name", ["other", "nearly"])
def test_other_weights_are_refused_with_what_mends_it(home, described, name):
    with pytest.raises(ValueError, match="not the weights of whisper that") as e:
        FrameMaker(described, {"whisper": home / name})
    assert "\n" not in str(e.value)
    assert str(e.value).endswith("(trained). Give those: --weights whisper=DIR.")


def test_weights_by_a_folders_name_are_not_looked_for_on_the_hub(described):
    with pytest.raises(ValueError, match="If you trust them, say so: --weights wh"):
        FrameMaker(described, {})


def test_weights_that_are_nowhere_are_told_with_the_flag(described, tmp_path):
    with pytest.raises(FileNotFoundError, match="reads it: --weights whisper=DIR"):
        FrameMaker(described, {"whisper": tmp_path / "none"})


def test_weights_in_files_of_their_own_have_values_too(tmp_path):
    """As FACodec's; of two folders with the same numbers they are the same."""
    entry = frames.PRETRAINED["facodec"]
    for folder, first in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        for name, x in zip(entry.files, (first, 3), strict=True):
            torch.save({"block.weight": x * torch.ones(2)}, tmp_path / folder / name)
    a, b, c = (frames._values(tmp_path / x, entry) for x in "abc")
    assert a == b != c
