import numpy as np
import pytest
from scipy import special

from jser.statistics import calibration


def calibrated(rng, count: int, classes: int = 5):
    """Logits and labels drawn from their very probabilities."""
    logits = 2 * rng.standard_normal((count, classes))
    p = special.softmax(logits, axis=1)
    label = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return logits, np.minimum(label, classes - 1)


def test_ece_is_near_zero_where_probabilities_are_true(rng):
    logits, label = calibrated(rng, 50_000)
    p = special.softmax(logits, axis=1)
    assert calibration.ece(p, label) < 0.01
    too_sure = special.softmax(3 * logits, axis=1)
    assert calibration.ece(too_sure, label) > 0.1


def test_reliability_is_what_a_loop_counts(rng):
    logits, label = calibrated(rng, 300)
    p = special.softmax(logits, axis=1)
    found = calibration.reliability(p, label, bins=10)
    assert found.count.sum() == 300
    gap = 0.0
    for k in range(10):
        low, high = k / 10, (k + 1) / 10
        mine = [i for i in range(300) if low < p[i].max() <= high]
        assert found.count[k] == len(mine)
        if not mine:
            assert np.isnan(found.accuracy[k])
            continue
        confidence = np.mean([p[i].max() for i in mine])
        accuracy = np.mean([p[i].argmax() == label[i] for i in mine])
        assert found.confidence[k] == pytest.approx(confidence)
        assert found.accuracy[k] == pytest.approx(accuracy)
        gap += len(mine) / 300 * abs(confidence - accuracy)
    assert calibration.ece(p, label, bins=10) == pytest.approx(gap)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    confidence = np.array([0.5, 0.5, 0.75, 1.0])  # Exact, as are four bins' edges.
    p = np.stack([confidence, 1 - confidence], axis=1)
    found = calibration.reliability(p, np.array([0, 1, 0, 0]), bins=4)
    assert found.count.tolist() == [0, 2, 1, 1]
    assert found.confidence[1:].tolist() == [0.5, 0.75, 1.0]
    assert found.accuracy[1:].tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 7.0])
def test_a_known_temperature_is_found(rng, temperature):
    logits, label = calibrated(rng, 20_000)
    scaled = logits * temperature + rng.standard_normal((20_000, 1))
    found = calibration.fit_temperature(scaled, label)
    assert found == pytest.approx(temperature, rel=0.05)
    mended = calibration.apply_temperature(scaled, found)
    np.testing.assert_array_equal(mended.argmax(1), scaled.argmax(1))
    assert calibration.ece(special.softmax(mended, axis=1), label) < 0.015


def test_weights_count_utterances_more_than_once(rng):
    logits, label = calibrated(rng, 400)
    twice = np.r_[logits, logits[:100]], np.r_[label, label[:100]]
    weight = np.where(np.arange(400) < 100, 2.0, 1.0)
    assert calibration.fit_temperature(logits, label, weight=weight) == pytest.approx(
        calibration.fit_temperature(*twice), rel=1e-3
    )


def test_another_prior_follows_bayes_rule(rng):
    """Two normal densities in another mixture: the posterior is known."""
    x = rng.standard_normal(50)
    log_density = -((x[:, None] - np.array([-1.0, 0.5, 2.0])) ** 2) / 2
    source, target = np.array([0.7, 0.2, 0.1]), np.full(3, 1 / 3)
    found = calibration.adjust_prior(log_density + np.log(source) + 5.0, source, target)
    joint = np.exp(log_density) * target
    np.testing.assert_allclose(
        np.exp(found), joint / joint.sum(axis=1, keepdims=True), atol=1e-12
    )
    without = calibration.adjust_prior(log_density, source, np.array([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(np.exp(without)[:, 2], 0)
    np.testing.assert_allclose(np.exp(without).sum(axis=1), 1)


def test_what_makes_no_sense_is_refused(rng):
    logits, label = calibrated(rng, 20)
    with pytest.raises(ValueError, match="do not sum to 1"):
        calibration.reliability(logits, label)
    with pytest.raises(ValueError, match="none may be held back"):
        calibration.fit_temperature(logits, np.full(20, -1))
    with pytest.raises(ValueError, match="source_prior"):
        calibration.adjust_prior(logits, np.eye(5)[0], np.full(5, 0.2))
    with pytest.raises(ValueError, match=r"target_prior.*5 classes"):
        calibration.adjust_prior(logits, np.full(5, 0.2), np.full(4, 0.25))
