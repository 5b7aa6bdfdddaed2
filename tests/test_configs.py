import dataclasses
import pathlib

import pytest

from jser import recipes
from jser.config import Data, Experiment, Model, Optim
from jser.corpora import prepare
from jser.features.extract import extract
from jser.roots import Roots
from jser.training import train
from tests.helpers import tiny_corpus

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))
MEMBERS = [p for p in CONFIGS if not p.stem.startswith("ensemble_")]
ENSEMBLES = [p for p in CONFIGS if p.stem.startswith("ensemble_")]
stem = lambda path: path.stem


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Roots:
    """Tones in the place of the demo corpus, with all front ends without weights."""
    home = tmp_path_factory.mktemp("demo")
    roots = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    table = prepare.prepare(
        "csv", tiny_corpus.make(home / "source"), roots.data / "demo"
    )
    for front_end in ("logmel", "prosody", "char_ngrams"):
        extract(table, front_end, roots.features, workers=1)
    return roots


@pytest.mark.parametrize("path", MEMBERS, ids=stem)
def test_every_member_loads_and_is_named_as_its_file(path):
    experiment = recipes.load(path).check()
    assert experiment.name == path.stem
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert f"scripts/train.py --config configs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", ENSEMBLES, ids=stem)
def test_every_ensemble_loads_and_is_named_as_its_file(path):
    found = recipes.load_ensemble(path).check()
    assert found.name == path.stem
    for member in found.members:
        assert recipes.load(path.with_name(f"{member.name}.py")) == member
    assert f"scripts/run.py --config configs/{path.name}" in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", MEMBERS, ids=stem)
def test_every_tiny_member_trains(path, demo):
    experiment = recipes.load(path, "tiny").check()
    state = train.train(experiment, demo, stop_after=2)
    assert int(state.step) == 2


def experiment(**changes) -> Experiment:
    return dataclasses.replace(tiny_corpus.experiment(), **changes)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (experiment(epochs=0), r"epochs: 0 must be at least 1"),
        (
            experiment(data=Data(streams={})),
            r"data\.streams: \{\} must be at least",
        ),
        (
            experiment(data=Data(streams={"a": "logmel"}, sampler="x")),
            r"data\.sampler: 'x' is not one of shuffle, neutral_balanced",
        ),
        (
            experiment(optim=Optim(lr=1e-5, final_lr=1e-4)),
            r"optim\.final_lr: 0\.0001 must be in \[0, optim\.lr\]",
        ),
        (experiment(optim=Optim(schedule="x")), r"optim\.schedule: 'x' is not one"),
        (experiment(model=Model(dropout=1.0)), r"model\.dropout: 1\.0 must be in"),
        (
            experiment(model=Model(heads={"video": 2})),
            r"model\.heads: 'video' is not one of speech, text",
        ),
        (
            experiment(model=Model(hidden=8, heads={"speech": 3})),
            r"model\.heads\['speech'\]: 3 must be a divisor",
        ),
    ],
)
def test_bad_configs_are_refused_by_field(bad, message):
    with pytest.raises(ValueError, match=message):
        bad.check()
