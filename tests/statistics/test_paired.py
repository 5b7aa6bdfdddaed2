"""What one system gains over another, by several seeds of both."""

import numpy as np
import pytest
from sklearn import metrics

from jser.statistics import bootstrap, paired
from jser.statistics.paired import Measure


def answers(rng, label, right: float):
    """Answers of which about a share are right."""
    wrong = rng.integers(0, 3, len(label))
    return np.where(rng.random(len(label)) < right, label, wrong)


@pytest.fixture
def two(rng):
    """Labels and the answers of two systems by two seeds."""
    label = rng.integers(0, 3, 60)
    a = [answers(rng, label, 0.3) for _ in range(2)]
    b = [answers(rng, label, 0.7) for _ in range(2)]
    return label, a, b


def of(label, answered, score="macro_f1"):
    return [paired.confusions(label, x, 3)[score] for x in answered]


def test_differences_are_those_of_scikit_learn(two):
    label, a, b = two
    found = paired.gain(of(label, a), of(label, b), resamples=10)
    f1 = lambda x: metrics.f1_score(label, x, average="macro")
    by_seed = [f1(y) - f1(x) for x, y in zip(a, b, strict=True)]
    assert found.by_seed == pytest.approx(by_seed)
    assert found.difference == pytest.approx(np.mean(by_seed))
    assert found.a == pytest.approx(np.mean([f1(x) for x in a]))
    assert found.b - found.a == pytest.approx(found.difference)


@pytest.mark.parametrize("clustered", [False, True])
def test_of_one_seed_the_interval_is_that_of_the_paired_bootstrap(two, clustered):
    label, a, b = two
    cluster = np.arange(60) // 6 if clustered else None
    wanted = bootstrap.compare(label, a[0], b[0], 3, cluster=cluster)["uar"]
    found = paired.gain(
        of(label, a[:1], "uar"), of(label, b[:1], "uar"), cluster=cluster
    )
    assert found.difference == pytest.approx(wanted.difference)
    assert found.interval == pytest.approx(wanted.interval, abs=0.01)


def test_the_same_answers_by_more_seeds_are_no_surer(two):
    """Seeds of an utterance are drawn together, or this interval would be narrower."""
    label, a, b = two
    one = paired.gain(of(label, a[:1]), of(label, b[:1]))
    four = paired.gain(of(label, a[:1] * 4), of(label, b[:1] * 4))
    assert four.interval == pytest.approx(one.interval)


def test_a_mean_and_its_number_are_a_measure_too():
    """Two speakers, one with 1 row and one with 3: draws are aa, ab, ba and bb."""
    values = np.array([8.0, 0, 0, 0])
    mean = lambda sums: sums[..., 0] / sums[..., 1]
    a = Measure(np.stack([np.zeros(4), np.ones(4)], 1), mean)
    b = Measure(np.stack([values, np.ones(4)], 1), mean)
    found = paired.gain([a], [b], cluster=np.array(["x", "y", "y", "y"]))
    assert found.difference == 2.0
    assert found.interval == (0.0, 8.0)


def test_one_cluster_is_refused(two):
    label, a, b = two
    with pytest.raises(ValueError, match="one cluster alone, 'x'"):
        paired.gain(of(label, a), of(label, b), cluster=np.full(60, "x"))
    with pytest.raises(ValueError, match="held back"):
        paired.confusions(np.full(3, -1), np.zeros(3, int), 3)
