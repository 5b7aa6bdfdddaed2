import numpy as np
import pytest
from scipy.spatial import distance
from sklearn import metrics as sklearn_metrics

from jser.statistics import distributions, paired


def test_divergences_are_scipys(rng):
    votes, p = rng.dirichlet(np.ones(5), 20), rng.dirichlet(np.ones(5), 20)
    votes[:5] = np.eye(5)
    want = distance.jensenshannon(votes, p, base=2, axis=1) ** 2
    np.testing.assert_allclose(distributions.jensen_shannon(votes, p), want)
    by_hand = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.5, 0.25]])
    np.testing.assert_allclose(distributions.kullback_leibler(*by_hand), 0.5)
    apart = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(distributions.jensen_shannon(*apart), 1)
    np.testing.assert_allclose(
        distributions.jensen_shannon(votes, votes), 0, atol=1e-15
    )


def test_several_emotions_are_scored_as_scikit_learn_does(rng):
    votes, p = (rng.dirichlet(np.full(6, 0.7), 40) for _ in range(2))
    measure = distributions.measures(votes, p)["several_f1"]
    want = sklearn_metrics.f1_score(votes > 1 / 6, p > 1 / 6, average="macro")
    assert measure.value == pytest.approx(want)


def test_an_emotion_that_nobody_names_does_not_count():
    votes = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert distributions.measures(votes, votes)["several_f1"].value == 1


def interval(measure, **options) -> tuple[float, float]:
    return paired.intervals({"it": measure}, **options)["it"]


def test_interval_of_a_mean_is_that_of_its_draws(rng):
    values = rng.standard_normal(400)
    low, high = interval(paired.Measure.mean(values))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    speakers = np.repeat(np.arange(4), 100)
    shifted = values + speakers
    wide = interval(paired.Measure.mean(shifted), cluster=speakers)
    assert wide[1] - wide[0] > 5 * (high - low)
    with pytest.raises(ValueError, match="one cluster alone"):
        interval(paired.Measure.mean(values), cluster=np.zeros(400))


def test_scores_of_the_same_rows_share_their_draws(rng):
    a, b = (paired.Measure.mean(rng.standard_normal(50)) for _ in range(2))
    both = paired.intervals({"a": a, "b": b})
    assert both == {"a": interval(a), "b": interval(b)}
