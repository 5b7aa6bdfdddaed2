"""One file of a finished ensemble is damaged: it is named, or nothing changes."""

import collections
import json
import pathlib
import random
import re
import shutil

import numpy as np
import pytest

from jser.commands import command_line
from jser.config import Ensemble
from jser.corpora import tables
from jser.ensemble.combine import combine
from jser.ensemble.out_of_fold import Run, plan
from jser.features.extract import extract
from jser.report import results, subjects
from jser.roots import Roots
from jser.training import predict, train
from tests.helpers import mutations
from tests.helpers.seeds import seeds
from tests.test_pipeline import config

STACKER = "logistic"
FRONT_ENDS = ("logmel", "char_ngrams")


def ensemble() -> Ensemble:
    """Of two epochs, so that runs may have two checkpoints."""
    whole = config(STACKER)
    for member in whole.members:
        member.epochs = 2
    return whole.check()


def predicted(run: Run, roots: Roots) -> None:
    train.train(run.experiment, roots)
    for split in run.splits:
        predict.predict(roots, roots.workdir(run.experiment), split)


def scores(roots: Roots) -> str:
    """All numbers of the report; what it notes of curves is no number."""
    found = results.score(subjects.of_ensemble(ensemble(), roots))
    return json.dumps({k: v for k, v in found.items() if k != "notes"}, sort_keys=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory, corpus) -> tuple[Roots, str]:
    home = tmp_path_factory.mktemp("house")
    for folder in ("data", "features"):
        shutil.copytree(getattr(corpus, folder), home / folder)
    shutil.copytree(corpus.data.parent / "source", home / "source")
    roots = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    for run in plan(ensemble(), tables.read(roots.data / "small")):
        predicted(run, roots)
    combine(ensemble(), roots)
    return roots, scores(roots)


def files_of(home: pathlib.Path) -> list[pathlib.Path]:
    """Whatever is read again; tensorboard's events and predictions are for people."""
    found = [
        p
        for folder in ("data", "features", "runs")
        for p in sorted((home / folder).rglob("*"))
        if p.is_file() and not {"tensorboard", "predictions"} & set(p.parts)
    ]
    return found


def damage(path: pathlib.Path, home: pathlib.Path, rng: random.Random) -> str:
    """Damages the file in one way; returns which."""
    alike = [p for p in files_of(home) if p.name == path.name and p != path]
    kinds = ["bytes", "bytes", "bytes", "gone", "empty"]
    kinds += ["swapped"] * (2 if alike else 0)
    kinds += ["edited"] * (2 if path.suffix in (".csv", ".npz") else 0)
    kind = rng.choice(kinds)
    data = path.read_bytes()
    if kind == "bytes":
        path.write_bytes(mutations.mutated(data, rng.randrange(1 << 30)))
    elif kind == "gone":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "swapped":
        other = rng.choice(alike)
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        edit(path, rng)
    return kind


def edit(path: pathlib.Path, rng: random.Random) -> None:
    """Another value where one was, in a file whose form stays good."""
    if path.suffix == ".csv":
        lines = path.read_text().splitlines()
        row = rng.randrange(1, len(lines)) if len(lines) > 1 else 0
        cells = lines[row].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(("sad", "angry", "3", "", "x"))
        path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]))
        return
    with np.load(path) as loaded:
        columns = {name: loaded[name] for name in loaded.files}
    name = rng.choice([n for n, x in columns.items() if x.size])
    column = columns[name].reshape(-1)
    at, other = rng.randrange(column.size), rng.randrange(column.size)
    changed = column[other] if column.dtype.kind == "U" else column[at] + 1
    if column.dtype.kind == "b":
        changed = not column[at]
    column[at] = changed
    columns[name] = column.reshape(columns[name].shape)
    np.savez(path, **columns)


def road(roots: Roots, path: pathlib.Path) -> str:
    """Everything that `jser run` does with a file; returns the scores."""
    table = tables.read(roots.data / "small")
    for front_end in FRONT_ENDS:
        extract(table, front_end, roots.features, workers=1)
    runs = plan(ensemble(), table)
    touched = [r for r in runs if roots.workdir(r.experiment) in path.parents]
    for run in touched or runs[:1]:
        if "checkpoints" in path.parts:  # Or nobody would read them again.
            shutil.rmtree(roots.workdir(run.experiment) / "logits", ignore_errors=True)
        predicted(run, roots)
    if roots.runs / ensemble().name not in path.parents:  # Or they would be made again.
        combine(ensemble(), roots)
    return scores(roots)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(8, 250))
def test_a_damaged_file_is_named_or_harmless(house, tmp_path, seed):
    whole, want = house
    home = tmp_path / "house"
    shutil.copytree(whole.data.parent, home)
    roots = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    rng = random.Random(seed)
    by_kind = collections.defaultdict(list)
    for path in files_of(home):
        by_kind[re.sub("[0-9a-f]{32}|[0-9]+", "", path.name)].append(path)
    path = rng.choice(by_kind[rng.choice(sorted(by_kind))])
    what = f"{path.relative_to(home)}, {damage(path, home, rng)}"
    found, error = "", None
    try:
        found = road(roots, path)
    except Exception as e:
        error = e
    if error is None:
        assert found == want, f"{what}: other numbers, and not a word"
        print(f"outcome: harmless: {what}")
        return
    told = str(error)
    assert command_line._is_mendable(error), f"{what}: raw {error!r}"
    assert "\n" not in told, f"{what}: {told}"
    assert str(home) in told, f"{what}: no path in {told!r}"
    print(f"outcome: refused: {what}: {told}")
