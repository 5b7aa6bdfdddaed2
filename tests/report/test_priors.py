import dataclasses

import numpy as np
import pytest
from scipy import special

from jser.report import priors
from tests.helpers import simulated_systems


def test_in_cross_validation_no_fold_serves_itself(rng):
    said = simulated_systems.said(rng)
    folded = dataclasses.replace(said, fold=np.arange(60) // 20)
    seen = []

    def fit(rows):
        seen.append(set(rows.fold.tolist()))
        return lambda logits: logits + len(seen)

    place, logits = priors.cross_fitted("cv", {"cv": folded}, fit)
    assert place == "other folds"
    assert seen == [{1, 2}, {0, 2}, {0, 1}]
    np.testing.assert_allclose(
        logits - folded.logits,
        np.repeat([1, 2, 3], 20)[:, None] * np.ones(3),
        atol=1e-6,
    )


def gaussians(rng, prior: np.ndarray, count: int):
    """Draws of three classes on a line, and their exact posterior logits."""
    label = rng.choice(3, count, p=prior)
    x = rng.standard_normal(count) + 1.5 * label
    likelihood = -((x[:, None] - 1.5 * np.arange(3)) ** 2) / 2
    return label, likelihood + np.log(prior), likelihood


def test_a_uniform_prior_is_recovered(rng):
    """Of a model that is right under another prior, the posterior must come out."""
    prior = np.array([0.7, 0.2, 0.1])
    label, logits, likelihood = gaussians(rng, prior, 6000)
    empty = np.full(6000, -1)
    rows = dataclasses.replace(
        simulated_systems.said(rng),
        logits=1.7 * logits.astype(np.float32),
        label=label,
        fold=empty,
    )
    adjusted = priors.fit_correction(rows)(1.7 * logits)
    exact = np.exp(special.log_softmax(likelihood, axis=1))
    gap = np.abs(np.exp(adjusted) - exact)
    assert gap.max() < 0.05
    before = np.abs(np.exp(special.log_softmax(1.7 * logits, axis=1)) - exact)
    assert before.max() > 0.3


def test_a_uniform_prior_needs_every_class(rng):
    said = simulated_systems.said(rng)
    with pytest.raises(ValueError, match="no utterance of sad to fit it on"):
        priors.fit_correction(said.take(said.label != 1))
