"""More epochs are a new run, that starts from another's parameters."""

import dataclasses

import jax
import numpy as np
import pytest

from jser import files
from jser.config import Experiment
from jser.data.corpus import open_corpus
from jser.ensemble import provenance
from jser.training import initialization, train
from jser.training.checkpoints import Checkpoints
from jser.training.predict import best_step
from jser.training.setup import TrainingSetup
from tests.helpers import tiny_corpus


def experiment(**fields) -> Experiment:
    e = tiny_corpus.experiment()
    e.data.standardize = ("speech",)
    e.epochs = 1
    return dataclasses.replace(e, **fields)


@pytest.fixture(scope="module")
def source(corpus, tmp_path_factory):
    """Roots, and the folder of a run to start from."""
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))
    train.train(experiment(), roots)
    return roots, roots.runs / "small"


def same(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_it_starts_where_the_other_was_best(source):
    roots, folder = source
    e = experiment(seed=5)
    setup = TrainingSetup.of(e, open_corpus(roots, e.data))
    started, made_by = initialization.start_from(folder, setup)
    with Checkpoints(folder) as saved:
        variables = saved.load_variables(best_step(saved))
    same(started.fresh.variables, variables)
    same(started.fresh.opt_state, setup.fresh.opt_state)
    assert int(started.fresh.step) == 0
    assert made_by == provenance.made_by(folder)


def test_a_cut_is_resumed_to_the_same_bits_and_only_from_there(source, tmp_path):
    roots, folder = source
    e = experiment(name="more", epochs=2)
    whole = train.train(e, roots, tmp_path / "whole", init_from=folder)
    config = files.read_json(tmp_path / "whole" / "config.json")
    assert config["init_from"] == provenance.made_by(folder)
    cut = tmp_path / "cut"
    train.train(e, roots, cut, init_from=folder, stop_after=4)
    same(train.train(e, roots, cut, init_from=folder), whole)
    without = train.train(e, roots, tmp_path / "without")
    assert any(
        (a != b).any()
        for a, b in zip(
            *map(jax.tree.leaves, (whole.params, without.params)), strict=True
        )
    )
    with pytest.raises(ValueError, match=r"init_from was '\w+@3', is None"):
        train.train(e, roots, cut)
    with pytest.raises(ValueError, match=r"init_from was None, is '\w+@3'"):
        train.train(e, roots, tmp_path / "without", init_from=folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: setattr(e.model, "hidden", 4), r"model\.hidden was 8, is 4"),
        (lambda e: setattr(e.loss, "neutral_weight", 0.1), "a neutral head was False"),
        (lambda e: setattr(e.data, "standardize", ()), r"data\.standardize was \['sp"),
        (lambda e: e.data.streams.pop("text"), r"data\.streams\.text was 'char_ngrams"),
        (lambda e: setattr(e.data, "holdout", (0,)), r"holdout was \[\], is \[0\]"),
        (lambda e: setattr(e.data, "train_split", "dev"), "train_split was 'train'"),
    ],
)
def test_other_networks_and_lessons_are_refused(source, tmp_path, change, told):
    roots, folder = source
    other = experiment()
    change(other)
    with pytest.raises(ValueError, match=rf"init_from: .*small: .*{told}"):
        train.train(other, roots, tmp_path / "other", init_from=folder)
    assert not (tmp_path / "other").exists()


def test_no_run_to_start_from(source, tmp_path):
    with pytest.raises(FileNotFoundError, match="no run there; jser train makes one"):
        train.train(experiment(), source[0], tmp_path / "a", init_from=tmp_path / "b")
    assert not (tmp_path / "b").exists()
