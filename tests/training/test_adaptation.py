"""Runs whose frames each speaker's statistics scale, in training and in prediction."""

import numpy as np
import pytest

from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.data.corpus import open_corpus
from jser.report import results, subjects
from jser.roots import Roots
from jser.training import predict, standardization, together, train
from jser.training.checkpoints import Checkpoints
from tests.helpers import tiny_corpus


def experiment(name: str, adapt: str = "speaker", **fields) -> Experiment:
    e = tiny_corpus.experiment(speech="logmel")
    e.name, e.epochs = name, 1
    e.data.standardize, e.data.adapt = ("speech",), adapt
    for field, value in fields.items():
        setattr(e, field, value)
    return e.check()


@pytest.fixture(scope="module")
def roots(corpus, tmp_path_factory) -> Roots:
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))
    for name, adapt in (("adapted", "speaker"), ("plain", "none")):
        train.train(experiment(name, adapt), roots)
        predict.predict(roots, roots.runs / name, "test")
    return roots


def test_the_training_side_is_scaled_likewise(roots):
    e = experiment("adapted")
    corpus = open_corpus(roots, e.data)
    want = standardization.statistics(corpus, corpus.train())["speech_input"]
    np.testing.assert_allclose(want["mean"], 0, atol=2e-3)
    np.testing.assert_allclose(want["deviation"], 1, atol=2e-3)
    with Checkpoints(roots.runs / "adapted") as saved:
        kept = saved.load_variables(saved.best_step() or 0)["standard"]["speech_input"]
    np.testing.assert_array_equal(kept["mean"], want["mean"])


def test_it_is_named_in_logits_and_results(roots, tmp_path):
    said = predict.predict(roots, roots.runs / "adapted", "test", adapt="speaker")
    assert said.adapt == "speaker"
    assert (roots.runs / "adapted" / "logits" / "test.npz").exists()
    found = results.write(subjects.of_run(roots.runs / "adapted", roots), tmp_path)
    system = "adapted, speaker statistics (transductive)"
    assert list(found["systems"]) == [system]
    assert system in (tmp_path / "results.md").read_text()
    (note,) = (n for n in found["notes"] if n.startswith("Transductive"))
    assert "does harm where" in note
    plain = subjects.of_run(roots.runs / "plain", roots)
    assert not any("ransductive" in text for text in (*plain.notes, *plain.systems))


def test_it_always_predicts_so(roots):
    for adapt in ("none", "target"):
        with pytest.raises(ValueError, match=r"always .* --config\.data\.adapt=none"):
            predict.predict(roots, roots.runs / "adapted", "test", adapt=adapt)
    with pytest.raises(ValueError, match=r"plain .* --config\.data\.adapt=speaker"):
        predict.predict(roots, roots.runs / "plain", "test", adapt="speaker")


def test_an_ensemble_names_its_adapted_members(roots):
    members = (experiment("adapted"), experiment("plain", "none"))
    ensemble = Ensemble(name="both", members=members).check()
    table = tables.read(roots.data / "small")
    (note,) = (
        n
        for n in subjects.notes(ensemble.members, roots, table)
        if n.startswith("Transductive: adapted scales")
    )
    assert "plain" not in note


def test_a_run_starts_from_one_that_reads_the_same(roots, tmp_path):
    with pytest.raises(ValueError, match=r"data\.adapt was 'none', is 'speaker'"):
        train.train(experiment("more"), roots, tmp_path, init_from=roots.runs / "plain")


def test_together_as_alone(roots, tmp_path):
    there = tiny_corpus.elsewhere(roots, tmp_path)
    both = [experiment("adapted"), experiment("other", seed=3)]
    assert together.groups([*both, experiment("plain", "none")], there) == [[0, 1], [2]]
    together.train_together(both, there)
    alone = predict.predict(roots, roots.runs / "adapted", "test")
    found = predict.predict(there, there.runs / "adapted", "test")
    np.testing.assert_allclose(found.logits, alone.logits, atol=1e-4)
