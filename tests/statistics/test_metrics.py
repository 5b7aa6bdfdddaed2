import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from jser.statistics import metrics


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
        np.testing.assert_allclose(
            metrics.f1(counts),
            sk.f1_score(
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


def test_a_class_that_is_only_predicted_counts_for_f1_and_not_for_recall():
    found = metrics.scores(np.array([0, 0, 1]), np.array([0, 2, 1]), 4)
    assert found["uar"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_labels_held_back_cannot_be_scored():
    with pytest.raises(ValueError, match="held back"):
        metrics.scores(np.array([-1, 0]), np.array([0, 0]), 2)
