"""Commands that were killed, at whatever moment, end as if they never had been."""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import random
import shutil
import signal

import pytest

from jser import processes
from jser.corpora import prepare, tables
from jser.ensemble.out_of_fold import plan
from jser.features.extract import extract
from jser.roots import Roots
from tests.helpers import (
    finished_runs,
    kills,
    tiny_checkpoints,
    tiny_corpus,
    tiny_whisper,
)
from tests.test_pipeline import config

KILLS = 5  # In a row, before a run may come to its end.
TABLE = ("--table", "data/small")
STACKER = "weighted_average"
CONFIGS = {
    "member": "from tests.helpers import tiny_corpus\n"
    "def get_config():\n"
    "    member = tiny_corpus.experiment()\n"
    "    member.log_every = 2\n"
    "    return member\n",
    "ensemble": "from tests.test_pipeline import config\n"
    "def get_config(): return config('average')\n",
    "stacked": "from tests.test_pipeline import config\n"
    f"def get_config(): return config('{STACKER}')\n",
}


def roots(home: pathlib.Path) -> Roots:
    return Roots(data=home / "data", features=home / "features", runs=home / "runs")


def nothing(_: pathlib.Path) -> None:
    """What most commands need beforehand."""


def train(home: pathlib.Path) -> None:
    kills.finish(["train", "--config", "./member.py"], home)


def say(home: pathlib.Path) -> None:
    table = tables.read(home / "data" / "small")
    finished_runs.make(plan(config(STACKER), table), table, roots(home))


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, and what is to be there before."""

    arguments: Sequence[str]
    before: Callable[[pathlib.Path], None] = nothing


COMMANDS = {
    "extract": Command(
        ("extract", *TABLE, "--frontend", "logmel", "--workers=2", "--features_root=f")
    ),
    "extract with weights": Command(
        ("extract", *TABLE, "--frontend=hubert", "--weights=hubert")
    ),
    "transcribe": Command(("transcribe", *TABLE, "--weights", "whisper", "--all")),
    "train": Command(("train", "--config", "./member.py")),
    "predict": Command(("predict", "--workdir=runs/small", "--split=test"), train),
    "stack": Command(("stack", "--config", "./stacked.py"), say),
    "run": Command(("run", "--config", "./ensemble.py", "--jobs=2")),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> pathlib.Path:
    """A table with features, tiny checkpoints, and configs."""
    home = tmp_path_factory.mktemp("base")
    source = tiny_corpus.make(tmp_path_factory.mktemp("source") / "sounds")
    table = prepare.prepare("csv", source, home / "data" / "small", policy="given")
    for front_end in ("logmel", "char_ngrams"):
        extract(table, front_end, home / "features", workers=1)
    tiny_checkpoints.make("hubert", home / "hubert")
    tiny_whisper.make(home / "whisper")
    for name, text in CONFIGS.items():
        (home / f"{name}.py").write_text(text)
    return home


@pytest.fixture(scope="module")
def uncut(base, tmp_path_factory):
    """By command: what lies there before, the same at its end, and the seconds."""
    known: dict[str, tuple[pathlib.Path, dict, float]] = {}

    def uncut(name: str) -> tuple[pathlib.Path, dict, float]:
        if name not in known:
            before, after = (tmp_path_factory.mktemp("home") / x for x in "ab")
            shutil.copytree(base, before)
            COMMANDS[name].before(before)
            shutil.copytree(before, after)
            kills.finish(COMMANDS[name].arguments, after)  # Compiles, too.
            shutil.rmtree(after)
            shutil.copytree(before, after)
            seconds = kills.finish(COMMANDS[name].arguments, after)
            known[name] = before, kills.content(after), seconds
        return known[name]

    return uncut


def scenarios() -> list:
    """One run for `make slow`, over a hundred kills of all for `make full`."""
    every = [(name, seed) for seed in range(3) for name in COMMANDS]
    return [
        pytest.param(
            *(name, seed),
            marks=pytest.mark.slow if (name, seed) == ("run", 0) else pytest.mark.full,
        )
        for name, seed in every
    ]


@pytest.mark.parametrize(("name", "seed"), scenarios())
def test_killed_equals_uncut(uncut, tmp_path, name, seed):
    before, want, seconds = uncut(name)
    home, rng = tmp_path / "home", random.Random(f"{name} {seed}")
    shutil.copytree(before, home)
    arguments = COMMANDS[name].arguments
    outcomes = [kills.kill(arguments, home, seconds, rng) for _ in range(KILLS)]
    kills.finish(arguments, home)
    found, left = kills.content(home), kills.litter(home)
    differing = sorted(
        k for k in found.keys() | want.keys() if found.get(k) != want.get(k)
    )
    kills.note(name, outcomes, len(differing), len(left))
    assert (left, differing) == ([], [])


@pytest.mark.full
@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("name", ["extract", "train", "run"])
def test_stopped_equals_uncut(uncut, tmp_path, name, share):
    """SIGTERM; before jser listens to it, the system ends the process."""
    before, want, seconds = uncut(name)
    home, arguments = tmp_path / "home", COMMANDS[name].arguments
    shutil.copytree(before, home)
    status = kills.stop(arguments, home, share * seconds)
    assert status in (processes.STATUS, -signal.SIGTERM, 0), kills.told(home)
    if status == processes.STATUS:
        assert kills.told(home).endswith("stopped; run it again to go on\n")
        assert "Traceback" not in kills.told(home)
    kills.finish(arguments, home)
    assert kills.litter(home) == []
    assert kills.content(home) == want
