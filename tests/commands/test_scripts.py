"""The road as a user types it: `jser <verb>`, or a script of a checkout."""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from jser import console
from jser.commands import command_line
from tests.helpers import tiny_corpus
from tests.helpers.paths import CONFIGS, ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
MEMBER = """
from jser.config import Data, Experiment, Model, Optim

def get_config():
    return Experiment(
        name="words",
        epochs=2,
        model=Model(hidden=4),
        optim=Optim(lr=1e-3),
        data=Data(corpus="small", streams={"text": "char_ngrams"}, length_buckets=1),
    )
"""
ENSEMBLE = """
import dataclasses
from jser import recipes
from jser.config import Ensemble

def get_config():
    words = recipes.load("words.py")
    other = dataclasses.replace(words, name="other", seed=1)
    return Ensemble(name="both", members=(words, other), stacker="average")
"""


def run(script: str, *arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_there_is_a_script_for_every_verb():
    assert sorted(p.stem for p in SCRIPTS) == sorted(command_line.VERBS)
    for path in SCRIPTS:
        assert f'command_line.run("{path.stem}"' in path.read_text()
        assert len(path.read_text().splitlines()) <= 8


@pytest.mark.parametrize("command", [["scripts/train.py"], ["-m", "jser", "train"]])
def test_both_ways_to_type_it_are_the_same(command):
    found = subprocess.run(
        [sys.executable, *command, "--config", f"{CONFIGS}/demo_logmel_words.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )
    assert '"name": "demo_logmel_words"' in found.stdout


def test_prepare_extract_train_predict(tmp_path):
    source = tiny_corpus.make(tmp_path / "source")
    found = run(
        "prepare",
        "--corpus=csv",
        f"--source={source}",
        "--out=data/small",
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert "60 utterances, 0.01 hours, 5 speakers" in found.stdout
    found = run("extract", "--table=data/small", "--frontend=char_ngrams", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "60 utterances" in found.stdout
    (tmp_path / "words.py").write_text(MEMBER)
    found = run("train", "--config=words.py", "--config.optim.lr=3e-4", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert '"lr": 0.0003,' in found.stdout  # The resolved config.
    assert "runs/words: trained to step 2" in found.stdout
    found = run("predict", "--workdir=runs/words", "--split=test", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "macro_f1 0." in found.stdout
    found = run("report", "--workdir=runs/words", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "| test | words | 0." in found.stdout
    assert (tmp_path / "runs" / "words" / "report.html").exists()


@pytest.fixture
def small(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder with configs, and sounds beside it."""
    monkeypatch.setattr(console, "quiet", lambda: None)
    tiny_corpus.make(tmp_path / "source")
    home = tmp_path / "here"
    home.mkdir()
    (home / "words.py").write_text(MEMBER)
    (home / "both.py").write_text(ENSEMBLE)
    monkeypatch.chdir(home)
    jser("prepare", "--corpus", "csv", *SOURCE, "--out", "data/small")
    jser("extract", "--table", "data/small", "--frontend", "char_ngrams")
    return home


SOURCE = ("--source", "../source/small.csv")


def jser(*argv: str) -> None:
    assert command_line.main(argv) == 0


def reproduced(home: pathlib.Path, results: str, monkeypatch) -> None:
    """Types what results say, in another folder; finds the same results."""
    found = json.loads((home / results).read_text())
    there = home.with_name("there")
    there.mkdir()
    for config in home.glob("*.py"):
        (there / config.name).write_text(config.read_text())
    monkeypatch.chdir(there)
    for line in found["commands"]:
        jser(*shlex.split(line)[1:])
    assert json.loads((there / results).read_text()) == found


def test_what_a_run_says_reproduces_it(small, monkeypatch):
    changed = ("--config.optim.lr=3e-3", "--config.model.heads=text=2")
    jser("train", "--config", "words.py", *changed, "--workdir", "runs/mine")
    jser("predict", "--workdir", "runs/mine", "--split", "test")
    jser("evaluate", "--workdir", "runs/mine")
    found = json.loads((small / "runs/mine/results.json").read_text())
    extract, train = found["commands"][1:3]
    assert extract == "jser extract --table data/small --frontend char_ngrams"
    assert train == shlex.join(
        ["jser", "train", "--config", "words.py", *changed, "--workdir", "runs/mine"]
    )
    reproduced(small, "runs/mine/results.json", monkeypatch)


@pytest.mark.slow
def test_what_an_ensemble_says_reproduces_it(small, monkeypatch):
    given = ("--config", "both.py", "--config.epochs=1", "--config.name=x")
    given = (*given, "--runs_root", "mine")
    jser("run", *given)
    found = json.loads((small / "mine/x/results.json").read_text())
    assert found["commands"][1] == shlex.join(["jser", "run", *given])
    assert found["members"] == ["x_words", "x_other"]
    jser("report", *given)  # What it is told again, it says again.
    assert json.loads((small / "mine/x/results.json").read_text()) == found
    reproduced(small, "mine/x/results.json", monkeypatch)


def test_what_a_user_can_mend_ends_in_one_line(tmp_path):
    found = run("predict", "--workdir=none", cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("error: none/config.json: no run there")
    assert found.stderr.count("\n") == 1
