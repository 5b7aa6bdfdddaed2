import re

import pytest

from jser import config_files, recipes
from tests.helpers.paths import CONFIGS

OWN = """
from jser import recipes

def get_config():
    config = recipes.load("whisper_roberta_sml")
    config.name, config.data.corpus = "mine", "mine"
    return config
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Works in a folder that is not the checkout."""
    monkeypatch.chdir(tmp_path)


def test_a_checkout_packages_its_configs():
    assert config_files.PACKAGED == CONFIGS
    assert config_files.find("ensemble_demo") == CONFIGS / "ensemble_demo.py"
    assert len(config_files.names()) == len(list(CONFIGS.glob("*.py")))


def test_a_config_of_ones_own_builds_on_a_packaged_one(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    packaged = recipes.load("whisper_roberta_sml")
    for path in ("mine.py", "./mine.py", tmp_path / "mine.py"):
        found = recipes.load(path)
        assert (found.name, found.data.corpus) == ("mine", "mine")
        assert found.data.streams == packaged.data.streams
        assert found.optim == packaged.optim
    assert recipes.load("mine.py:tiny").name == "mine_tiny"


def test_a_name_is_never_looked_for_in_the_working_folder(tmp_path):
    """A config is code; only a path says that a file is meant."""
    (tmp_path / "ensemble_demo.py").write_text("raise SystemExit")
    (tmp_path / "mine.py").write_text("raise SystemExit")
    assert config_files.load("ensemble_demo").name == "ensemble_demo"
    with pytest.raises(FileNotFoundError, match=r"no packaged config 'mine'.*\./mine"):
        config_files.load("mine")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("whisper_robert", "no packaged config.*did you mean whisper_roberta or"),
        ("zzz", "no packaged config 'zzz'; there are baseline, demo_functionals"),
        ("mine/ensmble.py", r"mine/ensmble\.py: no such config.*did you mean ensemble"),
        ("none/x.py", r"none/x\.py: no such config file\.$"),
        ("configs/ensemble_demo.py", "the packaged config is ensemble_demo alone"),
    ],
)
def test_what_is_not_there_names_what_is_near(tmp_path, config, message):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ensemble.py").touch()
    with pytest.raises(FileNotFoundError, match=message):
        config_files.load(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = zzz", r"bad\.py:2: NameError: name 'zzz' is not defined"),
        ("x = 1\ny =", r"bad\.py:2: SyntaxError: invalid syntax"),
        ("def get_config():\n  return 1 / 0", r"bad\.py:2: ZeroDivisionError"),
        ("x = 1", r"bad\.py: AttributeError: .* no attribute 'get_config'"),
        ("def get_config():\n  return {}", r"get_config returned dict; it must be an"),
        (
            "from jser.config import Data\nData(streams={}, length_steps=6)",
            r"bad\.py:2: TypeError: .*; data\.length_steps is called data\.steps now",
        ),
    ],
)
def test_a_config_that_fails_names_its_line(tmp_path, monkeypatch, text, message):
    monkeypatch.setitem(config_files.RENAMED, "data.length_steps", "data.steps")
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        config_files.load("bad.py")


def test_a_member_is_not_an_ensemble():
    with pytest.raises(ValueError, match="ensemble_demo is an ensemble, not a member"):
        recipes.load("ensemble_demo")
    with pytest.raises(ValueError, match="baseline is a member, not an ensemble"):
        recipes.load_ensemble("baseline")


def test_near():
    assert config_files.near("trian", ["train", "run"]) == "; did you mean train?"
    assert re.fullmatch(
        "; there are --a, --b.", config_files.near("z", "ab", prefix="--")
    )
