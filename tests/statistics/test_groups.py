import numpy as np
import pytest

from jser.statistics import groups, metrics


def test_each_group_has_its_own_scores(rng):
    label, predicted = rng.integers(0, 3, (2, 60))
    gender = np.array(["female", "male", ""])[np.arange(60) % 3]
    found = groups.by_group(label, predicted, gender, 3)
    assert list(found) == ["", "female", "male"]
    assert sum(x["n"] for x in found.values()) == 60
    mine = gender == "male"
    want = metrics.scores(label[mine], predicted[mine], 3)
    assert found["male"] == want | {"n": 20, "classes": 3}


def test_numbers_in_names_sort_by_value():
    speaker = np.array(["s10", "s2", "s1", "10"])
    zeros = np.zeros(4, int)
    assert list(groups.by_group(zeros, zeros, speaker, 2)) == ["10", "s1", "s2", "s10"]


def test_lengths_fall_into_quartiles_or_seconds(rng):
    seconds = rng.uniform(1, 12, 400)
    names, count = np.unique(groups.length_bins(seconds), return_counts=True)
    assert len(names) == 4
    assert count.tolist() == [100] * 4
    found = groups.length_bins(np.array([1.0, 2.0, 9.96, 12.0]), edges=(2.0, 10.0))
    assert found.tolist() == ["1.0-2.0 s", "2.0-10.0 s", "2.0-10.0 s", "10.0-12.0 s"]
    assert set(groups.length_bins(np.full(5, 3.0))) == {"3.0-3.0 s"}


def test_held_back_labels_have_no_scores():
    with pytest.raises(ValueError, match="held back"):
        groups.by_group(np.array([-1]), np.array([0]), np.array(["a"]), 2)
