import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import special
from sklearn import linear_model

from jser.config_rules import STACKERS
from jser.ensemble import combiners, stacking
from jser.statistics import metrics
from tests.helpers.simulated_members import CLASSES, said

KINDS = tuple(combiners.SETTINGS)


def test_every_kind_but_the_plain_average_is_in_the_config():
    assert {*KINDS, "average"} == set(STACKERS)


def test_settings_of_the_paper_are_the_published_ones(monkeypatch):
    monkeypatch.undo()
    assert combiners.SETTINGS["paper"] == {
        "n_estimators": 200,
        "max_depth": 8,
        "criterion": "gini",
        "min_samples_leaf": 10,
        "min_samples_split": 10,
    }


def test_weights_of_the_mixture_are_the_likeliest(rng):
    """Its gradient, 1 at the optimum, is that of every member with a share."""
    label, weight = rng.integers(0, CLASSES, 300), rng.uniform(0.5, 2, 300)
    logits = rng.standard_normal((300, 4, CLASSES))
    logits[np.arange(300), :, label] += [1.0, 1.0, 1.0, -3.0]
    log_p = special.log_softmax(logits, axis=2)
    share = combiners._mixture(log_p, label, weight)
    p = np.exp(log_p[np.arange(300), :, label])
    gradient = weight @ (p / (p @ share)[:, None]) / weight.sum()
    np.testing.assert_allclose(gradient[:3], 1, atol=1e-3)
    assert gradient[3] < 0.9
    assert share[3] < 1e-3


def test_utterances_that_every_member_excludes_do_not_lower_the_weights(rng):
    """Their labels have probability 0, so that no member is owed a share of them."""
    label = rng.integers(0, CLASSES, 40)
    log_p = special.log_softmax(2 * rng.standard_normal((40, 2, CLASSES)), axis=2)
    log_p[np.arange(10), :, label[:10]] = -np.inf
    known = combiners._mixture(log_p[10:], label[10:], np.ones(30))
    found = combiners._mixture(log_p, label, np.ones(40))
    assert found.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found, known, atol=1e-3)


def test_temperature_and_weights_find_the_surer_and_the_better_member(rng):
    """A member, the same five times as loud, and one that knows nothing."""
    good = said(rng, skill=2.0, each=200)
    loud = dataclasses.replace(good, logits=good.logits * 5)
    blind = said(rng, skill=0.0, each=200)
    joined = stacking.join({"good": good, "loud": loud, "blind": blind})
    part = stacking.fit("weighted_average", joined, seed=0).estimators[0]
    assert part.temperature[1] == pytest.approx(5 * part.temperature[0], rel=0.01)
    assert part.weight[2] < 0.05
    assert part.weight.sum() == pytest.approx(1)
    even = stacking.fit("scaled_average", joined, seed=0).estimators[0]
    np.testing.assert_allclose(even.weight, 1 / 3)
    scores = stacking.fit("weighted_average", joined, seed=0).held_out
    alone = metrics.scores(good.label, good.logits.argmax(1), CLASSES)
    assert scores["uar"] > alone["uar"] - 0.01


def test_a_selection_by_hand():
    """Of two classes; the table has the probability of the second, true of u1 and u2.

    Alone a has u3 wrong and b u1 (macro-F1 (4/5 + 2/3) / 2 each), c has all. Selection
    starts with a, the first of equals; a and b have u1 wrong, so that a is taken again,
    the first of equals; twice a with b has all right: 1.85, 2.6, 1.4 and 0.5 of 3.
    """
    a, b, c = (0.9, 0.9, 0.6, 0.1), (0.05, 0.8, 0.2, 0.3), (0.4, 0.4, 0.6, 0.6)
    second, label = np.array([a, b, c]).T, np.array([1, 1, 0, 0])
    found = combiners._selection(np.stack([1 - second, second], axis=2), label)
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, 0])


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(10, 60))
def test_a_selection_is_never_worse_than_its_best_member(seed, M, N):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, N)
    p = rng.dirichlet(np.ones(CLASSES), (N, M))
    p[:, 0] += 0.3 * np.eye(CLASSES)[label]
    p /= p.sum(axis=2, keepdims=True)
    share = combiners._selection(p, label)
    assert share.sum() == pytest.approx(1)
    mean = metrics.scores(label, np.einsum("nmc,m->nc", p, share).argmax(1), CLASSES)
    for m in range(M):
        alone = metrics.scores(label, p[:, m].argmax(1), CLASSES)
        assert mean["macro_f1"] >= alone["macro_f1"] - 1e-12


def test_what_makes_the_mean_no_better_is_not_selected(rng):
    """A member and itself: the first step is kept, and of equals the better alone."""
    label = rng.integers(0, CLASSES, 200)
    weak, good = (
        special.softmax(
            rng.standard_normal((200, CLASSES)) + skill * np.eye(CLASSES)[label], 1
        )
        for skill in (0.5, 9.0)
    )
    share = combiners._selection(np.stack([weak, good, good], axis=1), label)
    np.testing.assert_array_equal(share, [0, 1, 0])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_second_stage_is_the_optimum_near_the_first(rng, classes):
    """There the loss of the drawn rows pulls as much as the ridge to the first."""
    label = rng.permutation(np.repeat(np.arange(classes), (200, 60, 30)[-classes:]))
    read = rng.standard_normal((len(label), 4)) + label[:, None] / 2
    first = linear_model.LogisticRegression(class_weight="balanced", max_iter=1000)
    first.fit(read, label)
    found = combiners._in_two_stages(read, label, seed=7)
    rows = combiners.balanced_rows(label, 7)
    assert np.bincount(label[rows]).tolist() == [30] * classes
    wrong = found.predict_proba(read[rows]) - np.eye(classes)[label[rows]]
    moved = found.coef_ - first.coef_
    if classes == 2:  # Of each class half the difference moves.
        moved = np.concatenate([-moved, moved]) / 2
    np.testing.assert_allclose(wrong.T @ read[rows], -moved, atol=5e-3)
    assert np.abs(moved).max() > 0.02


@pytest.mark.parametrize("classes", [2, 3])
def test_the_mean_of_meta_logits_is_that_of_their_weights(rng, classes):
    """The soup of linear heads, where all read the same."""
    log_p = special.log_softmax(rng.standard_normal((90, 2, classes)), axis=2)
    rated, label = rng.uniform(1, 7, (90, 3)), np.arange(90) % classes
    fitted = [
        dataclasses.replace(
            combiners.fit("meta", log_p[rows], rated[rows], label[rows], seed=0),
            temperature=np.ones(2),
        )
        for rows in (np.arange(60), np.arange(20, 90))
    ]
    soup = linear_model.LogisticRegression().fit(np.eye(2 * classes + 3)[:3], [0, 1, 1])
    soup.classes_ = np.arange(classes)
    for weights in ("coef_", "intercept_"):
        mean = np.mean([getattr(e.model, weights) for e in fitted], axis=0)
        setattr(soup, weights, mean)
    read = np.column_stack([np.exp(log_p).reshape(90, -1), rated])
    found = combiners.combined("meta", fitted, log_p, rated)
    np.testing.assert_allclose(found, soup.predict_proba(read), atol=1e-9)
    mean = np.mean([e.model.predict_proba(read) for e in fitted], axis=0)
    assert np.abs(found - mean).max() > 1e-4


def test_a_meta_says_classes_that_one_of_its_heads_never_met(rng):
    log_p = special.log_softmax(rng.standard_normal((90, 1, 4)), axis=2)
    label, none = np.arange(90) % 3, np.zeros((90, 0))
    some = np.flatnonzero(label < 2)
    whole = combiners.fit("meta", log_p, none, label, seed=0)
    narrow = combiners.fit("meta", log_p[some], none[some], label[some], seed=0)
    p = combiners.combined("meta", [whole, narrow], log_p, none)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert p[:, 2].mean() == pytest.approx(1 / 3, abs=0.1)
    assert p[:, 3].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_importance_is_of_the_member_that_knows(rng, kind):
    joined = stacking.join({"knows": said(rng), "blind": said(rng, skill=0.0)})
    found = stacking.fit(kind, joined, seed=0).importance
    if kind in ("logistic", "boosting", "meta"):
        assert found is None
        return
    assert np.shape(found) == (2, CLASSES)
    assert np.sum(found) == pytest.approx(1)
    if kind not in ("scaled_average", "chosen"):  # The latter chooses the former.
        assert np.sum(found[0]) > 0.7
