"""The nested choice looks at nothing of the fold it is for."""

import numpy as np
import pytest

from benchmarks import nested_choice
from jser.data.corpus import open_corpus
from jser.roots import HELDOUT
from jser.training.predict import predict
from jser.training.train import train
from tests.helpers import tiny_corpus

FOLDS = range(5)
LABEL = {
    f"{fold}{label}{take}": label for fold in FOLDS for label in (0, 1) for take in "ab"
}
TRUTH = nested_choice.Truth(LABEL, {u: int(u[0]) for u in LABEL}, 2)


def predictor(wrong, asked):
    """Candidates that are right but for the utterances that `wrong` names."""

    def predict(name, holdout, seed):
        asked.append((name, holdout))
        held = [u for u in LABEL if TRUTH.fold[u] in holdout]
        return {u: np.eye(2)[LABEL[u] ^ wrong(name, u, len(holdout))] for u in held}

    return predict


def test_the_best_inside_is_chosen_whatever_it_does_on_the_fold():
    wrong = {"a": "1", "b": "3", "c": "12"}  # Folds in which each is wrong.
    predict = predictor(lambda name, u, _: u[0] in wrong[name], asked := [])
    found = nested_choice.choose(["a", "b", "c"], 3, FOLDS, predict, TRUTH)
    assert found["groups"] == {"a": 0.75, "b": 1.0, "c": 0.5}
    assert set(found["finalists"]) == {"a", "b"}
    assert found["chosen"] == "b"
    assert all(3 in holdout for _, holdout in asked)
    # Every third fold is in a group, and finalists leave out one by one.
    assert {h for n, h in asked if n == "c"} == {(0, 3, 4), (1, 3), (2, 3)}


def test_finalists_are_judged_without_one_fold_at_a_time():
    # "a" is the better one without three folds, "b" without two.
    at_fault = {("a", 2), ("b", 3)}
    predict = predictor(
        lambda name, u, left_out: (name, left_out) in at_fault and u[0] == "0", []
    )
    found = nested_choice.choose(["a", "b"], 3, range(7), predict, TRUTH)
    assert found["groups"]["a"] > found["groups"]["b"]
    assert found["chosen"] == "b"


def test_of_equals_the_first_is_chosen():
    predict = predictor(lambda *_: False, [])
    for names in (["b", "a", "c"], ["c", "b", "a"]):
        found = nested_choice.choose(names, 0, FOLDS, predict, TRUTH)
        assert found["chosen"] == names[0]


def test_what_is_left_nowhere_is_what_a_run_leaves(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    config = tiny_corpus.experiment()
    config.data.dev_split, config.data.holdout = "", (1,)
    opened = nested_choice.in_memory(open_corpus(roots, config.data))
    got, _ = nested_choice.heldout_logits(config, opened, (1,))
    train(config, roots)
    said = predict(roots, roots.workdir(config), HELDOUT)
    assert set(got) == set(said.utt_id)
    for u, logits in zip(said.utt_id, said.logits, strict=True):
        np.testing.assert_allclose(got[u], logits, atol=1e-6)


def test_a_candidate_is_a_config_with_fields_set():
    text = "emodb_whisper_probe;model.layers=mix;optim.lr=3e-4"
    config = nested_choice.candidate(text)
    assert (config.model.layers, config.optim.lr) == ("mix", 3e-4)
    with pytest.raises(ValueError, match="optim"):
        nested_choice.candidate("emodb_whisper_probe;optim.rate=3e-4")
