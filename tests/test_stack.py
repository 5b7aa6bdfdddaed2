import dataclasses
import itertools

import numpy as np
import pytest

from jser import logits as logits_files
from jser import stack
from jser.logits import Logits

SPEAKERS, EACH, CLASSES = 6, 40, 3


def said(rng, *, skill: float = 2.0, in_sample: bool = False) -> Logits:
    """What a member of some skill says; fold = speaker."""
    N = SPEAKERS * EACH
    label = np.tile(np.arange(CLASSES), N)[:N]
    fold = np.repeat(np.arange(SPEAKERS), EACH)
    noise = rng.standard_normal((N, CLASSES))
    return Logits(
        utt_id=np.array([f"u{k:04d}" for k in range(N)]),
        logits=(skill * np.eye(CLASSES)[label] + noise).astype(np.float32),
        label=label,
        fold=fold,
        speaker=np.array([f"s{k}" for k in fold]),
        in_sample=np.full(N, in_sample),
        labels=np.array(["angry", "sad", "neutral"]),
        made_by=np.array([f"run{rng.integers(1e9)}@1"]),
    )


def accuracy(found: Logits) -> float:
    return float((found.logits.argmax(1) == found.label).mean())


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    """500 trees take seconds."""
    monkeypatch.setitem(stack._FOREST, "n_estimators", 60)


def test_two_members_beat_each_alone(rng):
    members = {"a": said(rng, skill=1.0), "b": said(rng, skill=1.0)}
    alone = max(accuracy(m) for m in members.values())
    train, test = (
        stack.join({m: x.take(rows) for m, x in members.items()})
        for rows in (np.arange(160), np.arange(160, 240))
    )
    forest = stack.fit(train, seed=0)
    assert accuracy(stack.apply(forest, test)) > alone
    assert accuracy(stack.average(stack.join(members))) > alone


def test_probabilities_sum_to_one(rng):
    joined = stack.join({"a": said(rng), "b": said(rng)})
    for found in (
        stack.average(joined),
        stack.apply(stack.fit(joined, seed=0), joined),
    ):
        np.testing.assert_allclose(np.exp(found.logits).sum(1), 1, atol=1e-5)


def test_a_constant_added_to_logits_changes_nothing(rng):
    one = said(rng)
    moved = dataclasses.replace(one, logits=one.logits + rng.random((len(one), 1)))
    np.testing.assert_allclose(
        stack.join({"a": one}).columns, stack.join({"a": moved}).columns, atol=1e-5
    )


def test_the_order_of_rows_changes_nothing(rng):
    one, other = said(rng), said(rng)
    shuffled = one.take(rng.permutation(len(one)))
    want = stack.join({"a": one, "b": other})
    got = stack.join({"a": shuffled, "b": other})
    np.testing.assert_array_equal(got.columns, want.columns)


def test_logits_of_rows_a_member_was_trained_on_are_refused(rng):
    fair, unfair = said(rng), said(rng, in_sample=True)
    with pytest.raises(ValueError, match=r"240 utterances.*data\.holdout"):
        stack.fit(stack.join({"a": fair, "b": unfair}), seed=0)


def test_members_must_hold_the_same(rng):
    one, other = said(rng), said(rng)
    with pytest.raises(
        ValueError, match=r"b and a do not hold the same.*1 are.*'u0000'"
    ):
        stack.join({"a": one, "b": other.take(np.arange(1, len(other)))})
    relabelled = dataclasses.replace(other, label=(other.label + 1) % 3)
    with pytest.raises(ValueError, match="differ in the label of 'u0000'"):
        stack.join({"a": one, "b": relabelled})
    renamed = dataclasses.replace(other, labels=np.array(["x", "y", "z"]))
    with pytest.raises(ValueError, match="different label sets"):
        stack.join({"a": one, "b": renamed})


def test_saved_forests_say_the_same(rng, tmp_path):
    joined = stack.join({"a": said(rng)})
    forest = stack.fit(joined, seed=3)
    stack.save(
        tmp_path, {-1: forest}, members=["a"], labels=["x"], made_by=["r@1"], seed=3
    )
    (loaded,) = stack.load(tmp_path).values()
    want = stack.apply(forest, joined)
    np.testing.assert_array_equal(stack.apply(loaded, joined).logits, want.logits)
    again = stack.apply(stack.fit(joined, seed=3), joined)
    np.testing.assert_array_equal(again.logits, want.logits)
    (tmp_path / "stacker.skops").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"not the file stack\.json names"):
        stack.load(tmp_path)


@pytest.mark.parametrize("field", ["children_left", "children_right", "feature"])
def test_a_tree_that_leads_elsewhere_is_refused(rng, tmp_path, field):
    """Followed, such an index reads memory that is not the tree's."""
    forest = stack.fit(stack.join({"a": said(rng)}), seed=3)
    getattr(forest.estimators_[-1].tree_, field)[0] = 10**6
    stack.save(tmp_path, {-1: forest}, members=[], labels=[], made_by=[], seed=3)
    with pytest.raises(ValueError, match="a tree"):
        stack.load(tmp_path)


def nested(rng):
    """Members' logits when trained without one fold and without each pair."""
    outer, inner = {}, {}
    for member in ("a", "b"):
        whole = said(rng, skill=1.5)
        outer[member] = {k: whole.take(whole.fold == k) for k in range(SPEAKERS)}
        inner[member] = {
            pair: whole.take(np.isin(whole.fold, pair))
            for pair in itertools.combinations(range(SPEAKERS), 2)
        }
    return outer, inner


def test_cross_validated_stacking_speaks_of_every_utterance_once(rng):
    outer, inner = nested(rng)
    found, forests = stack.cross_validate(outer, inner, seed=0)
    assert len(found) == SPEAKERS * EACH
    assert sorted(forests) == list(range(SPEAKERS))
    best = max(
        accuracy(logits_files.concatenate(list(x.values()))) for x in outer.values()
    )
    assert accuracy(found) > best


def test_the_fold_under_test_cannot_reach_its_forest(rng):
    """Whatever the labels of fold 0 are, the forest for fold 0 says the same of it."""
    outer, inner = nested(rng)
    want, _ = stack.cross_validate(outer, inner, seed=0)

    def scrambled(found: Logits) -> Logits:
        wrong = np.where(found.fold == 0, (found.label + 1) % CLASSES, found.label)
        return dataclasses.replace(found, label=wrong)

    outer = {m: {k: scrambled(x) for k, x in f.items()} for m, f in outer.items()}
    inner = {m: {p: scrambled(x) for p, x in f.items()} for m, f in inner.items()}
    got, _ = stack.cross_validate(outer, inner, seed=0)
    mine = want.fold == 0
    np.testing.assert_array_equal(got.logits[mine], want.logits[mine])
    assert not np.array_equal(got.logits[~mine], want.logits[~mine])


def test_noise_that_fits_its_training_rows_stays_at_chance(rng):
    """Out-of-fold logits without signal must not look better than chance."""
    noise = said(rng, skill=0.0)
    folds = {"a": {k: noise.take(noise.fold == k) for k in range(SPEAKERS)}}
    pairs = {
        "a": {
            p: noise.take(np.isin(noise.fold, p))
            for p in itertools.combinations(range(SPEAKERS), 2)
        }
    }
    found, _ = stack.cross_validate(folds, pairs, seed=0)
    assert accuracy(found) == pytest.approx(1 / CLASSES, abs=0.1)
