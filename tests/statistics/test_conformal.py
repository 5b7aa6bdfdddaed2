import numpy as np
import pytest

from jser.statistics import conformal


def world(speakers: int, each: int, seed: int = 0):
    """Probabilities of three classes; some speakers are harder than others."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, speakers * each)
    speaker = np.repeat(np.arange(speakers), each)
    skill = rng.uniform(0.5, 3, speakers)[speaker]
    logits = skill[:, None] * np.eye(3)[label] + rng.standard_normal((len(label), 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p, label, speaker


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_new_speakers_are_covered(coverage):
    """The mean over worlds of what was promised, by speakers that were not seen."""
    found = []
    for seed in range(40):
        p, label, speaker = world(31, 20, seed)
        known = speaker < 30
        score = conformal.scores(p, label)
        limit = conformal.threshold(score[known], speaker[known], coverage)
        found.append((score[~known] <= limit).mean())
    assert np.mean(found) > coverage - 0.04


def test_ten_speakers_cannot_promise_more_than_ten_elevenths():
    p, label, speaker = world(10, 20)
    score = conformal.scores(p, label)
    assert conformal.threshold(score, speaker, 0.9) < 1
    assert conformal.threshold(score, speaker, 0.95) == 1


def test_speakers_weigh_the_same_however_much_they_said():
    score = np.array([0.1] * 100 + [0.5, 0.6])
    speaker = np.array(["much"] * 100 + ["little"] * 2)
    assert conformal.threshold(score, speaker, 0.3) == 0.1
    assert conformal.threshold(score, speaker, 0.5) == 0.5
    assert conformal.threshold(score, speaker, 0.6) == 0.6


def test_held_out_coverage_is_of_sets_with_the_truth():
    p, label, speaker = world(30, 20)
    covered, size = conformal.held_out_coverage(p, label, speaker, 0.8)
    assert covered == pytest.approx(0.8, abs=0.06)
    assert 1 <= size <= 3


def test_withheld_answers_cost_few_right_ones():
    p, label, speaker = world(20, 50)
    least = conformal.least_confidence(p, label, speaker, lost=0.05)
    right = p.argmax(axis=1) == label
    lost = [(p[right & (speaker == s)].max(axis=1) < least).mean() for s in range(20)]
    assert 0.03 < np.mean(lost) <= 0.05
    assert conformal.least_confidence(p[:1], np.array([2]), speaker[:1]) >= 0
