"""A training is the same on one device and on many, in one process and in several."""

import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jser import devices, processes
from jser.config_rules import PRECISIONS
from jser.data import batches
from jser.data.collation import WHOLE, Share
from jser.data.corpus import open_corpus
from jser.training import metrics_log, predict
from jser.training.inference import make_predict_step
from jser.training.setup import TrainingSetup
from tests.helpers import on_devices, tiny_corpus
from tests.helpers.on_devices import Work, end, start
from tests.helpers.paths import ROOT


def folders(roots) -> dict[str, str]:
    return {k: str(v) for k, v in dataclasses.asdict(roots).items()}


def losses(roots, c) -> list[float]:
    found = metrics_log.read(roots.workdir(c) / "metrics.jsonl")
    return [x["train/loss"] for x in found if "train/loss" in x]


def same(one, other, c, steps: int | None) -> None:
    """Losses and dev scores on the way, and the logits of the best checkpoints."""
    assert len(losses(one, c)) >= (steps or 50)
    np.testing.assert_allclose(losses(one, c), losses(other, c), rtol=0, atol=1e-5)
    for a, b in zip(*(lines(r, c) for r in (one, other)), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    logits = [predict.predict(r, r.workdir(c), "test").logits for r in (one, other)]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-4)


def lines(roots, c) -> list[dict]:
    found = metrics_log.read(roots.workdir(c) / "metrics.jsonl")
    return [{k: v for k, v in x.items() if k.startswith("dev/")} for x in found]


@pytest.fixture(scope="module", params=[6, pytest.param(None, marks=pytest.mark.full)])
def steps(request):
    """How many of two epochs, or all of 51."""
    return request.param


@pytest.fixture(scope="module")
def on_one(corpus, tmp_path_factory, steps):
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("one"))
    end(start(1, Work(folders(roots), steps)))
    return roots


@pytest.mark.slow
def test_eight_devices_are_as_one_and_a_checkpoint_of_theirs_goes_on(
    corpus, tmp_path, on_one, steps
):
    c, there = on_devices.experiment(), []
    for count in (8, 1, 4):  # The first half on 8, the other on each.
        roots = tiny_corpus.elsewhere(corpus, tmp_path / f"on{count}")
        if there:
            shutil.copytree(tmp_path / "half", roots.runs)
        else:
            end(start(8, Work(folders(roots), stop_after=3 if steps else 26)))
            shutil.copytree(roots.runs, tmp_path / "half")
        end(start(count, Work(folders(roots), steps)))
        there.append(roots)
    for roots in there:
        same(on_one, roots, c, steps)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_two_processes_are_as_one(corpus, tmp_path, on_one, steps):
    roots, address = tiny_corpus.elsewhere(corpus, tmp_path / "two"), free_address()
    # The second time they go on from a checkpoint.
    for stop in (3 if steps else 30, steps):
        both = [Work(folders(roots), stop, 0, address, 2, i) for i in (0, 1)]
        end(*[start(2, work) for work in both])
    same(on_one, roots, on_devices.experiment(), steps)


@pytest.mark.slow
@pytest.mark.full
def test_when_one_of_two_processes_is_ended_both_save_and_go_on(corpus, tmp_path):
    """As a user has it; what comes of it is what one process makes, uncut."""
    c = on_devices.experiment()
    c.epochs, c.log_every = 40, 5
    config = tmp_path / "config.py"
    config.write_text(
        "from jser.config import Experiment\n"
        f"get_config = lambda: Experiment.from_dict({c.to_dict()!r})\n"
    )
    cut, whole = (tiny_corpus.elsewhere(corpus, tmp_path / n) for n in ("2", "1"))

    def train(roots, *more: str) -> subprocess.Popen:
        given = ["--config", str(config), *more]
        for name, folder in folders(roots).items():
            given += [f"--{name}_root", folder]
        return subprocess.Popen([sys.executable, "-m", "jser", "train", *given])

    def both() -> list[subprocess.Popen]:
        meet = ("--coordinator", free_address(), "--processes", "2", "--process_id")
        return [train(cut, *meet, str(i)) for i in (0, 1)]

    def ends(started: list[subprocess.Popen]) -> list[int]:
        return [p.wait(timeout=300) for p in started]

    started, metrics = both(), cut.workdir(c) / "metrics.jsonl"
    while not metrics.exists() or len(losses(cut, c)) < 4:
        assert started[1].poll() is None
        time.sleep(0.2)
    started[1].terminate()
    assert ends(started) == [processes.STATUS] * 2
    assert max(map(int, os.listdir(cut.workdir(c) / "checkpoints"))) < 120
    assert ends(both()) == [0, 0]
    assert ends([train(whole)]) == [0]
    np.testing.assert_allclose(losses(cut, c), losses(whole, c), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_members_over_devices_are_as_alone(corpus, tmp_path, steps):
    members, stop = (4, 9) if steps else (12, None)  # One epoch of each, or all.
    here, there = (tiny_corpus.elsewhere(corpus, tmp_path / n) for n in ("1", "4"))
    end(start(1, Work(folders(here), stop, members)))
    end(start(4, Work(folders(there), stop, members)))
    for seed in range(members):
        same(here, there, on_devices.experiment(seed, batch_size=4), stop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "mesh", "most"),
    [(0, [1, 8], {"all-reduce": 3}), (8, [8, 1], {}), (12, [4, 2], {"all-reduce": 3})],
)
def test_devices_tell_each_other_sums_alone(members, mesh, most):
    """Of the loss and of the gradients; those of different members nothing."""
    command = [sys.executable, "-m", "tests.helpers.collectives", "8", str(members)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    shape, counts = json.loads(told.stdout)
    assert shape == mesh
    assert set(counts) == set(most)
    assert all(0 < counts[kind] <= most[kind] for kind in most)


def test_no_share_of_a_batch_depends_on_how_many_there_are(corpus):
    c = on_devices.experiment()
    opened = open_corpus(corpus, c.data, speed=c.augment.speed)
    split, target = opened.train(), opened.train().target(opened.table.labels)
    make = lambda share: batches.TrainBatches(
        *(split, target, opened.buckets, c.data, c.augment),
        seed=1,
        epochs=1,
        share=share,
    )
    whole = make(WHOLE)
    for count in (2, 4):
        shares = [make(Share(i, count)) for i in range(count)]
        for step in range(len(whole)):
            together = [s[step] for s in shares]
            joined = jax.tree.map(lambda *x: np.concatenate(x), *together)
            jax.tree.map(np.testing.assert_array_equal, joined, whole[step])
    assert whole[len(whole) - 1].weight.sum() < c.data.batch_size / 2  # Some are idle.


def test_only_devices_of_several_processes_must_all_have_rows(monkeypatch):
    assert devices.Layout.of(7).mesh.size == 1
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices() * 4)
    with pytest.raises(ValueError, match=r"data.batch_size: 6 .* a multiple of 4"):
        devices.Layout.of(6)


def test_who_takes_part_must_be_said(monkeypatch):
    with pytest.raises(ValueError, match="give --processes and --process_id"):
        devices.join("127.0.0.1:9", 0, 0)

    def nowhere(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nowhere)
    with pytest.raises(ValueError, match=r"auto: .* defined. Give host:port, --proc"):
        devices.join("auto", 0, 0)
    with pytest.raises(ValueError, match="--processes=2: not with --coordinator=auto"):
        devices.join("auto", 2, 0)
    assert not jax.config.values["jax_enable_preemption_service"]  # Takes SIGTERM.


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_accelerator_is_told_how_to_multiply(corpus, precision):
    """XLA rounds float32 there, unless every product asks it not to."""
    c = tiny_corpus.experiment()
    c.precision = precision
    setup = TrainingSetup.of(c.check(), open_corpus(corpus, c.data))
    args = setup.fresh, setup.source[0], setup.hyperparameters
    stepped = jax.jit(setup.step_config.step).trace(*args)
    predicted = make_predict_step(setup.step_config.model).trace(
        setup.fresh.variables, setup.source[0]
    )
    asked = {}
    for name, traced in (("step", stepped), ("predict", predicted)):
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        products = [x for x in text.splitlines() if "stablehlo.dot_general" in x]
        assert len(products) > 10
        asked[name] = {
            re.findall(r"precision = \[(\w+), (\w+)\]", x)[0] for x in products
        }
    assert asked["predict"] == {("HIGHEST", "HIGHEST")}
    by_name = {"tf32": {("HIGH", "HIGH")}}
    assert asked["step"] == by_name.get(precision, {("HIGHEST", "HIGHEST")})
