import dataclasses

import numpy as np
import pytest
from scipy import special

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


@pytest.mark.parametrize("kind", KINDS)
def test_importance_is_of_the_member_that_knows(rng, kind):
    joined = stacking.join({"knows": said(rng), "blind": said(rng, skill=0.0)})
    found = stacking.fit(kind, joined, seed=0).importance
    if kind in ("logistic", "boosting"):
        assert found is None
        return
    assert np.shape(found) == (2, CLASSES)
    assert np.sum(found) == pytest.approx(1)
    if kind not in ("scaled_average", "chosen"):  # The latter chooses the former.
        assert np.sum(found[0]) > 0.7
