import numpy as np
import pytest

from jser.statistics import attributes, paired


def test_concordance_by_hand():
    """Means 2 and 3, variances 2/3, covariance 2/3."""
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])
    assert attributes.concordance(a, b) == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert attributes.concordance(a, a) == pytest.approx(1)
    assert attributes.concordance(a, 4 - a) == pytest.approx(-1)
    assert attributes.concordance(np.ones(3), a) == 0


def test_far_from_zero_it_loses_nothing(rng):
    a, b = rng.standard_normal((2, 50))
    want = attributes.concordance(a, b)
    assert attributes.concordance(a + 1e6, b + 1e6) == pytest.approx(want, rel=1e-6)


def test_interval_holds_the_value_and_speakers_widen_it(rng):
    true = rng.uniform(1, 7, 300)
    speakers = np.repeat(np.arange(6), 50)
    said = true + rng.standard_normal(300) + 1.5 * speakers
    measure = attributes.measure(said, true)
    alone = paired.intervals({"it": measure})["it"]
    assert alone[0] < measure.value < alone[1]
    together = paired.intervals({"it": measure}, cluster=speakers)["it"]
    assert together[1] - together[0] > alone[1] - alone[0]
