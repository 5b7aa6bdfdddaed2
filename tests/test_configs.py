import dataclasses

import pytest

from jser import config_files, recipes
from jser.config import Data, Ensemble, Experiment, Loss, Model, Optim
from jser.corpora import prepare
from jser.features.extract import extract
from jser.roots import Roots
from jser.training import train
from tests.helpers import tiny_corpus

MEMBERS = [n for n in config_files.names() if not n.startswith("ensemble_")]
ENSEMBLES = [n for n in config_files.names() if n.startswith("ensemble_")]


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


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_loads_and_is_named_as_its_file(name):
    experiment = recipes.load(name).check()
    assert experiment.name == name
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert f"\njser train --config {name}\n" in config_files.find(name).read_text()


@pytest.mark.parametrize("name", ENSEMBLES)
def test_every_ensemble_loads_and_is_named_as_its_file(name):
    found = recipes.load_ensemble(name).check()
    assert found.name == name
    for member in found.members:
        assert recipes.load(member.name) == member
    assert f"  jser run --config {name}" in config_files.find(name).read_text()


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_tiny_ensemble_is_of_tiny_members(name):
    found, whole = recipes.load_either(f"{name}:tiny"), recipes.load_ensemble(name)
    assert isinstance(found, Ensemble)
    assert found.check().name == f"{name}_tiny"
    tiny = tuple(recipes.load(f"{member.name}:tiny") for member in whole.members)
    assert found.members == tiny
    assert {m.data.corpus for m in tiny} == {"demo"}
    assert all(m.name.endswith("_tiny") for m in tiny)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_every_tiny_member_trains(name, demo):
    experiment = recipes.load(f"{name}:tiny").check()
    state = train.train(experiment, demo, stop_after=2)
    assert int(state.step) == 2


def experiment(**changes) -> Experiment:
    return dataclasses.replace(tiny_corpus.experiment(), **changes)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (experiment(epochs=0), r"epochs: 0 must be at least 1"),
        (experiment(seed=-1), r"seed: -1 must be 0 or more"),
        (experiment(name=""), r"name: '' must be letters, digits"),
        (experiment(name="../x"), r"name: '\.\./x' must be letters, digits"),
        (experiment(name="a/b"), r"name: 'a/b' must be letters, digits"),
        (
            experiment(data=Data(streams={})),
            r"data\.streams: \{\} must be at least",
        ),
        (
            experiment(data=Data(streams={"a": "logmel"}, sampler="x")),
            r"data\.sampler: 'x' is not one of shuffle, neutral_balanced",
        ),
        (
            experiment(optim=Optim(lr=float("inf"))),
            r"optim\.lr: inf must be a finite number",
        ),
        (
            experiment(loss=Loss(focal_gamma=float("nan"))),
            r"loss\.focal_gamma: nan must be a finite number",
        ),
        (
            experiment(optim=Optim(lr=1e-5, final_lr=1e-4)),
            r"optim\.final_lr: 0\.0001 must be in \[0, optim\.lr\]",
        ),
        (experiment(optim=Optim(schedule="x")), r"optim\.schedule: 'x' is not one"),
        (experiment(model=Model(dropout=1.0)), r"model\.dropout: 1\.0 must be in"),
        (
            experiment(model=Model(layers="sum")),
            r"model\.layers: 'sum' is not one of mix, beside",
        ),
        (
            experiment(optim=Optim(mix_rate=-1.0)),
            r"optim\.mix_rate: -1\.0 must be 0 or more",
        ),
        (
            experiment(model=Model(layers="beside"), optim=Optim(mix_rate=30.0)),
            r"optim\.mix_rate: 30\.0 must be 1 with model\.layers 'beside'",
        ),
        (
            experiment(model=Model(kind="probe", hidden=8)),
            r"model\.hidden: 8 must be 512, its default, with model\.kind 'probe'",
        ),
        (
            experiment(model=Model(kind="probe"), loss=Loss(neutral_weight=1.0)),
            r"loss\.neutral_weight: 1\.0 must be 0 with model\.kind 'probe'",
        ),
        (
            experiment(model=Model(kind="deep", mask_padding=False)),
            r"model\.mask_padding: False must be True with model\.kind 'deep'",
        ),
        (
            experiment(model=Model(kind="deep", heads={"text": 2})),
            r"model\.heads: \{'text': 2\} must be empty with model\.kind 'deep'",
        ),
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


def test_a_field_that_there_is_not_cannot_be_set():
    with pytest.raises(AttributeError, match="epocs"):
        experiment().epocs = 3


def test_an_ensemble_has_a_folder_of_its_own():
    member = experiment()
    with pytest.raises(ValueError, match="name: 'small' must be none of its members'"):
        Ensemble(name=member.name, members=(member,)).check()


def test_what_encoders_made_is_standardised_in_configs_that_are_ours():
    """Not in those whose published figures were made without."""
    lite = recipes.load("whisper_roberta_lite").data
    assert lite.standardize == ("speech", "text")
    mixed = {"speech": "whisper_small", "text": "char_ngrams"}
    for recipe in (recipes.demo, recipes.emodb):
        assert recipe("mine", **mixed).data.standardize == ("speech",)
    assert recipes.load("emodb_functionals").data.standardize == ("speech",)
    paper = recipes.load_ensemble("ensemble_paper").members
    as_they_are = (*paper, *map(recipes.load, ("baseline", "demo_logmel_words")))
    assert not any(c.data.standardize for c in as_they_are)
