import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from jser import metrics


@pytest.mark.parametrize("classes", [2, 5])
def test_scores_are_those_of_scikit_learn(rng, classes):
    for _ in range(20):
        label = rng.integers(0, classes, 30)
        predicted = rng.integers(0, classes, 30)
        counts = metrics.confusion(label, predicted, classes)
        np.testing.assert_array_equal(
            counts, sk.confusion_matrix(label, predicted, labels=range(classes))
        )
        found = metrics.scores(label, predicted, classes)
        assert found["macro_f1"] == pytest.approx(
            sk.f1_score(label, predicted, average="macro"), abs=1e-12
        )
        assert found["uar"] == pytest.approx(
            sk.balanced_accuracy_score(label, predicted), abs=1e-12
        )
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, predicted))
        np.testing.assert_allclose(
            metrics.precision(counts),
            sk.precision_score(
                label,
                predicted,
                average=None,
                zero_division=np.nan,
                labels=range(classes),
            ),
        )


def test_classes_that_do_not_occur_do_not_count():
    label, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.scores(label, predicted, 5)
    assert found["uar"] == pytest.approx(0.75)
    assert found["macro_f1"] == pytest.approx(2 / 3)
    recall = metrics.recall(metrics.confusion(label, predicted, 5))
    assert np.isnan(recall[2:]).all()


def test_labels_held_back_cannot_be_scored():
    with pytest.raises(ValueError, match="held back"):
        metrics.scores(np.array([-1, 0]), np.array([0, 0]), 2)


def test_bootstrap_of_utterances_equals_drawing_them(rng):
    label, predicted = rng.integers(0, 3, (2, 60))
    low, high = metrics.bootstrap(label, predicted, 3)["macro_f1"]
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, 60, 60)
        drawn.append(metrics.scores(label[rows], predicted[rows], 3)["macro_f1"])
    assert [low, high] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)


def test_bootstrap_of_speakers_is_wider_when_they_differ(rng):
    speaker = np.repeat(np.arange(10), 30)
    label = rng.integers(0, 3, 300)
    right = rng.random(300) < np.where(speaker < 5, 0.9, 0.3)
    predicted = np.where(right, label, (label + 1) % 3)
    plain = metrics.bootstrap(label, predicted, 3)["uar"]
    clustered = metrics.bootstrap(label, predicted, 3, cluster=speaker)["uar"]
    assert np.ptp(clustered) > 2 * np.ptp(plain)
    again = metrics.bootstrap(label, predicted, 3, cluster=speaker)["uar"]
    assert clustered == again
    names = np.array([f"s{k}" for k in speaker])
    assert metrics.bootstrap(label, predicted, 3, cluster=names)["uar"] == clustered
