"""Prior correction: another class prior than a system was made for, cross-fitted.

A system favours some classes over others: by the shares it was trained on, by weights,
by what its stacker saw. The challenge's test holds all classes alike. What is fitted
here is fitted on other utterances than those it is applied to.
"""

from collections.abc import Callable, Mapping
import dataclasses

import numpy as np
from scipy import optimize, special

from jser.ensemble.logits import Logits
from jser.statistics import calibration

OTHER_FOLDS = "other folds"


def cross_fitting(
    split: str, by_split: Mapping[str, Logits]
) -> tuple[str, list[tuple[Logits, np.ndarray]]]:
    """The plan of cross-fitting: where what is applied to a split can be fitted.

    In cross-validation each fold is served by the others; a test split is served by the
    dev split.

    Args:
      split: The one under test; its labels may be held back.
      by_split: A system's logits.

    Returns:
      The name of the place, and pairs of the rows to fit on and the mask [N] of the
      rows that this is applied to. An empty name if there is no such place.
    """
    logits = by_split[split]
    folds = np.unique(logits.fold)
    if len(folds) > 1 and folds[0] >= 0:
        masks = [logits.fold == k for k in folds]
        return OTHER_FOLDS, [(logits.take(~mine), mine) for mine in masks]
    developed = [s for s in by_split if not s.startswith("test")]
    if not split.startswith("test") or not developed:
        return "", []
    everyone = np.ones(len(logits), bool)
    return developed[0], [(by_split[developed[0]], everyone)]


def cross_fitted(
    split: str,
    by_split: Mapping[str, Logits],
    fit: Callable[[Logits], Callable[[np.ndarray], np.ndarray]],
) -> tuple[str, np.ndarray] | None:
    """Cross-fits: fits elsewhere and applies here; None where there is no elsewhere.

    Returns:
      The place it was fitted at, and the new logits [N, C] in float64.
    """
    here = by_split[split]
    place, pairs = cross_fitting(split, by_split)
    if not place:
        return None
    logits = np.zeros(here.logits.shape)
    for rows, mine in pairs:
        logits[mine] = fit(rows)(here.logits[mine].astype(np.float64))
    return place, logits


def fit_correction(rows: Logits) -> Callable[[np.ndarray], np.ndarray]:
    """Fits the prior that a system holds, and what turns its logits to a uniform one.

    Bias-corrected temperature scaling (Alexandari et al. 2020) of rows that are
    weighted as if all their classes were alike: the likeliest temperature and source
    prior, jointly. The loss is convex.

    Args:
      rows: Labelled; every class must occur.

    Raises:
      ValueError: if a class does not occur.
    """
    classes = rows.logits.shape[1]
    count = np.bincount(rows.label, minlength=classes)
    if (count == 0).any():
        absent = ", ".join(rows.labels[count == 0].tolist())
        raise ValueError(f"--target_prior: no utterance of {absent} to fit it on.")
    weight = (1 / count[rows.label]) / classes
    z, is_label = rows.logits.astype(np.float64), np.eye(classes)[rows.label]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        sharpness, bias = parameters[0], parameters[1:]
        log_p = special.log_softmax(sharpness * z + bias, axis=1)
        gap = weight[:, None] * (np.exp(log_p) - is_label)
        slope = np.concatenate([[(gap * z).sum()], gap.sum(axis=0)])
        return -float(weight @ (log_p * is_label).sum(axis=1)), slope

    minimum = optimize.minimize(
        loss,
        np.concatenate([[1.0], np.zeros(classes)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1e-2, 1e2)] + [(-20.0, 20.0)] * classes,
    )
    sharpness, source = minimum.x[0], special.softmax(-minimum.x[1:])
    uniform = np.full(classes, 1 / classes)
    return lambda logits: calibration.adjust_prior(sharpness * logits, source, uniform)


def corrected(by_split: Mapping[str, Logits]) -> dict[str, Logits]:
    """A system's logits under a uniform prior, on the splits that allow it."""
    adjusted = {}
    for split, uncorrected in by_split.items():
        if there := cross_fitted(split, by_split, fit_correction):
            logits = there[1].astype(np.float32)
            adjusted[split] = dataclasses.replace(uncorrected, logits=logits)
    return adjusted
