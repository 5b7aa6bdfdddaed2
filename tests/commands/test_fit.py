"""`jser fit`: from labelled sounds to a model, at one go, by hand, cut and resumed."""

import csv
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import sys

import pytest

from jser.recognizer import bundle
from jser.recognizer.recognizer import Recognizer
from tests.helpers import kills, tiny_corpus
from tests.helpers.paths import ROOT

FIT = ("fit", "--out", "my-model", "../sounds/mine.csv", "--frontend", "functionals")
pytestmark = pytest.mark.slow


def jser(home: pathlib.Path, *argv: str) -> list[str]:
    """The commands that `jser` showed."""
    command = [sys.executable, "-m", "jser", *argv]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, capture_output=True, text=True, cwd=home, env=env)
    assert found.returncode == 0, found.stderr
    shown = [s for s in found.stdout.splitlines() if s.startswith("$ ")]
    return [line.removeprefix("$ ") for line in shown]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[pathlib.Path, list[str]]:
    """The folder of a model of three speakers, and the commands shown."""
    base = tmp_path_factory.mktemp("base")
    source = tiny_corpus.make(base / "sounds")
    with source.open(newline="") as f:
        rows = [r for r in csv.DictReader(f) if r["speaker"] in "abc"]
    with source.with_name("mine.csv").open("w", newline="") as f:
        writer = csv.DictWriter(
            f, ("file", "emotion", "speaker"), extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    home = base / "home"
    home.mkdir()
    return home, jser(home, *FIT)


def digest(home: pathlib.Path) -> str:
    return bundle.load(home / "my-model").digest


def test_it_recognises_whom_it_has_not_heard(fitted):
    home, shown = fitted
    assert [c.split()[1] for c in shown] == ["prepare", "extract", "run", "bundle"]
    assert (home / "runs/my-model/report.html").is_file()
    recognizer = Recognizer.load(home / "my-model")
    sounds = sorted((home.parent / "sounds").glob("e_*.wav"))
    right = [r.label == p.stem.split("_")[1] for p, r in _all(recognizer, sounds)]
    assert len(right) == 12
    assert sum(right) > 8  # Chance: 4.


def _all(recognizer: Recognizer, sounds: list[pathlib.Path]):
    return zip(sounds, recognizer.many(sounds), strict=True)


def test_run_again_it_does_nothing_again(fitted):
    home, shown = fitted
    made = ("data", "features", "my-model", "runs/my-model_*")
    look = lambda: {
        p: p.stat().st_mtime_ns
        for folder in made
        for top in home.glob(folder)
        for p in top.rglob("*")
        if p.is_file() and p.name != ".lock"
    }
    before = look()
    again = jser(home, *FIT)
    assert look() == before
    done = [c.removesuffix("  # Done before.") for c in again]
    assert done == shown
    assert [c != d for c, d in zip(again, done, strict=True)] == [1, 0, 0, 1]


def test_by_hand_it_is_the_same_model(fitted):
    home, shown = fitted
    there = home.with_name("there")
    there.mkdir()
    for command in shown:
        jser(there, *shlex.split(command, comments=True)[1:])
    assert digest(there) == digest(home)


def test_killed_and_run_again_it_is_the_same_model(fitted):
    home, _ = fitted
    there, rng = home.with_name("killed"), random.Random(0)
    there.mkdir()
    outcomes = [kills.kill(FIT, there, 40, rng) for _ in range(3)]
    assert any(o.came for o in outcomes)
    kills.finish(FIT, there)
    assert kills.litter(there) == []
    one, other = (bundle.load(x / "my-model") for x in (home, there))
    assert _tensors(home) == _tensors(there)
    assert one.stacker is not None
    assert other.stacker is not None
    assert one.stacker.chosen == other.stacker.chosen


def _tensors(home: pathlib.Path) -> bytes:
    return (home / "my-model" / bundle.TENSORS).read_bytes()


def test_another_table_of_that_name_stops_it(fitted, tmp_path):
    home, _ = fitted
    shutil.copytree(home / "data", tmp_path / "data")
    source = tiny_corpus.make(tmp_path / "other").rename(tmp_path / "other/mine.csv")
    command = [sys.executable, "-m", "jser", "fit", "--out=x", str(source)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 1
    assert "not the table of" in found.stderr
