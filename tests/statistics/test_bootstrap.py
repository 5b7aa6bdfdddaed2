import numpy as np
import pytest

from jser.statistics import bootstrap, metrics

SIMULATIONS = 500
DEV_COUNTS = (5836, 2341, 6344, 987, 326, 542, 1459, 7423)  # MSP-Podcast 1.11's dev.


def spoken(rng, skill, count: int, classes: int = 3):
    """Labels and predictions right with probability `skill`, [N] or one for all."""
    label = rng.integers(0, classes, count)
    wrong = (label + rng.integers(1, classes, count)) % classes
    return label, np.where(rng.random(count) < skill, label, wrong)


def test_interval_of_utterances_equals_drawing_them(rng):
    label, predicted = rng.integers(0, 3, (2, 60))
    low, high = bootstrap.interval(label, predicted, 3)["macro_f1"]
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, 60, 60)
        drawn.append(metrics.scores(label[rows], predicted[rows], 3)["macro_f1"])
    assert [low, high] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)


def test_interval_of_speakers_equals_drawing_them(rng):
    speaker = np.sort(rng.integers(0, 12, 200))
    label, predicted = spoken(rng, 0.3 + speaker / 20, 200)
    low, high = bootstrap.interval(label, predicted, 3, cluster=speaker)["uar"]
    drawn = []
    for _ in range(2000):
        voices = rng.integers(0, 12, 12)
        rows = np.concatenate([np.flatnonzero(speaker == v) for v in voices])
        drawn.append(metrics.scores(label[rows], predicted[rows], 3)["uar"])
    assert [low, high] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)


def test_interval_of_speakers_is_wider_when_they_differ(rng):
    speaker = np.repeat(np.arange(10), 30)
    label, predicted = spoken(rng, np.where(speaker < 5, 0.9, 0.3), 300)
    plain = bootstrap.interval(label, predicted, 3)["uar"]
    clustered = bootstrap.interval(label, predicted, 3, cluster=speaker)["uar"]
    assert np.ptp(clustered) > 2 * np.ptp(plain)
    again = bootstrap.interval(label, predicted, 3, cluster=speaker)["uar"]
    assert clustered == again
    names = np.array([f"s{k}" for k in speaker])
    assert bootstrap.interval(label, predicted, 3, cluster=names)["uar"] == clustered


def coverage(draw, truth: dict[str, float]) -> dict[str, float]:
    """Share of simulations whose interval holds the truth."""
    hits = dict.fromkeys(truth, 0)
    for k in range(SIMULATIONS):
        arguments = draw(np.random.default_rng(k))
        found = bootstrap.interval(**arguments, classes=3, resamples=1000, seed=k)
        for score, value in truth.items():
            low, high = found[score]
            hits[score] += low <= value <= high
    return {score: n / SIMULATIONS for score, n in hits.items()}


def test_95_of_100_intervals_hold_the_truth():
    """Where labels and errors are even, all three scores are the skill in truth."""

    def draw(rng):
        label, predicted = spoken(rng, 0.5, 600)
        return {"label": label, "predicted": predicted}

    found = coverage(draw, dict.fromkeys(metrics.SCORES, 0.5))
    for score, share in found.items():
        assert 0.92 <= share <= 0.98, (score, share)


@pytest.mark.slow
def test_only_intervals_of_speakers_hold_where_speakers_differ():
    """Speakers' skills have an intraclass correlation of 0.1, 20 utterances each."""
    icc, speakers, each = 0.1, 80, 20
    a = 0.5 * (1 / icc - 1)

    def draw(rng, clustered):
        speaker = np.repeat(np.arange(speakers), each)
        label, predicted = spoken(rng, rng.beta(a, a, speakers)[speaker], len(speaker))
        cluster = speaker if clustered else None
        return {"label": label, "predicted": predicted, "cluster": cluster}

    truth = dict.fromkeys(metrics.SCORES, 0.5)
    for score, share in coverage(lambda rng: draw(rng, True), truth).items():
        assert 0.92 <= share <= 0.98, (score, share)
    for score, share in coverage(lambda rng: draw(rng, False), truth).items():
        assert share < 0.85, (score, share)


def two_systems(rng, skill_b: float, count: int = 300):
    label, a = spoken(rng, 0.5, count)
    wrong = (label + rng.integers(1, 3, count)) % 3
    b = np.where(rng.random(count) < skill_b, label, wrong)
    kept = rng.random(count) < 0.6  # Systems agree more than chance.
    return label, a, np.where(kept & (skill_b == 0.5), a, b)


@pytest.mark.parametrize("clustered", [False, True])
def test_p_is_even_where_systems_are_alike(clustered):
    found = []
    for k in range(300):
        label, a, b = two_systems(np.random.default_rng(k), 0.5)
        cluster = np.arange(300) // 3 if clustered else None
        got = bootstrap.compare(label, a, b, 3, cluster=cluster, resamples=400, seed=k)
        found.append([got["uar"].p_bootstrap, got["uar"].p_randomization])
    for p in np.transpose(found):
        for share in (0.05, 0.25, 0.5, 0.75):
            # Four standard errors of a share among 300.
            error = 4 * np.sqrt(share * (1 - share) / 300)
            assert np.mean(p <= share) == pytest.approx(share, abs=error), share


def test_p_is_small_where_one_is_better(rng):
    label, a, b = two_systems(rng, 0.7)
    for cluster in (None, np.arange(300) // 3):
        for score, found in bootstrap.compare(label, a, b, 3, cluster=cluster).items():
            assert found.p_bootstrap < 0.001
            assert found.p_randomization < 0.001
            assert found.difference == pytest.approx(
                metrics.scores(label, b, 3)[score] - metrics.scores(label, a, 3)[score]
            )
            low, high = found.interval
            assert 0 < low < found.difference < high
            back = bootstrap.compare(label, b, a, 3, cluster=cluster)[score]
            assert back.difference == pytest.approx(-found.difference)


def test_no_p_is_zero_and_equal_systems_do_not_differ(rng):
    label, a = spoken(rng, 0.9, 500)
    worse = (label + 1) % 3
    found = bootstrap.compare(label, worse, a, 3, resamples=99)["uar"]
    assert found.p_bootstrap == pytest.approx(2 / 100)
    assert found.p_randomization == pytest.approx(1 / 100)
    same = bootstrap.compare(label, a, a, 3, resamples=99)["macro_f1"]
    assert (same.difference, same.interval) == (0, (0, 0))
    assert same.p_bootstrap == same.p_randomization == 1


def test_randomisation_swaps_rows_as_a_loop_would(rng):
    label, a, b = two_systems(rng, 0.6, count=60)
    found = bootstrap.compare(label, a, b, 3)["macro_f1"]
    extreme = 0
    for _ in range(2000):
        swap = rng.random(60) < 0.5
        one, other = np.where(swap, b, a), np.where(swap, a, b)
        gap = metrics.scores(label, other, 3)["macro_f1"]
        gap -= metrics.scores(label, one, 3)["macro_f1"]
        extreme += abs(gap) >= abs(found.difference)
    assert found.p_randomization == pytest.approx(extreme / 2000, abs=0.05)


def test_one_speaker_has_no_interval_and_held_back_labels_no_score(rng):
    label, predicted = spoken(rng, 0.5, 30)
    with pytest.raises(ValueError, match="one cluster alone"):
        bootstrap.interval(label, predicted, 3, cluster=np.zeros(30))
    with pytest.raises(ValueError, match="held back"):
        bootstrap.interval(np.full(30, -1), predicted, 3)


def test_balanced_subsets_are_those_of_pandas():
    """Recorded from pandas 2.2.3 (`sample(n=200, random_state=i)` per label)."""
    draw = np.random.RandomState(0)
    label = draw.permutation(np.repeat(np.arange(8), DEV_COUNTS))
    right = draw.random_sample(len(label)) < 0.4
    predicted = np.where(right, label, draw.randint(0, 8, len(label)))
    found = bootstrap.balanced_subsets(label, predicted, 8)
    assert found.per_class == 200
    assert found.mean == pytest.approx(0.47008591980652864, abs=1e-12)
    assert found.low == pytest.approx(0.4477523664858593, abs=1e-12)
    assert found.high == pytest.approx(0.49911258042210527, abs=1e-12)
    np.testing.assert_allclose(
        found.scores[[0, 1, 50, 99]],
        [
            *(0.4657701483157785, 0.49080434660555067),
            *(0.47391058551781, 0.4624896036811004),
        ],
        rtol=0,
        atol=1e-12,
    )
    # A class of 326: all subsets shrink, and say so.
    fewer = bootstrap.balanced_subsets(label, predicted, 8, per_class=400)
    assert fewer.per_class == 326
    assert fewer.mean == pytest.approx(0.47210433068738583, abs=1e-12)


def test_classes_that_do_not_occur_are_not_drawn(rng):
    label, predicted = spoken(rng, 0.5, 90)
    found = bootstrap.balanced_subsets(label, predicted, 5, subsets=7)
    assert len(found.scores) == 7
    assert found.per_class == np.bincount(label).min()
    with pytest.raises(ValueError, match="held back"):
        bootstrap.balanced_subsets(np.full(90, -1), predicted, 5)
