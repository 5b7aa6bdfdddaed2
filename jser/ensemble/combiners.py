"""What combines the members' probabilities: one function per kind, from N M C to N C.

All are fitted to balanced classes: to a world where all are equally frequent, as in the
challenge's test set. docs/stack.md says why.
"""

import dataclasses
import importlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np
from scipy import special

from jser.config_rules import CHOSEN
from jser.statistics import calibration, metrics

# The paper's forest.
_PAPER = {
    "n_estimators": 200,
    "max_depth": 8,
    "criterion": "gini",
    "min_samples_leaf": 10,
    "min_samples_split": 10,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "paper": dict(_PAPER),
    "oof": _PAPER | {"class_weight": "balanced_subsample"},
    "scaled_average": {},
    "weighted_average": {},
    "logistic": {"solver": "newton-cholesky", "class_weight": "balanced"},
    "boosting": {
        "max_leaf_nodes": 15,
        "early_stopping": False,
        "class_weight": "balanced",
    },
    "best_member": {},
}
# What "chosen" chooses among; of equals the one named first, which learns least.
CANDIDATES = ("scaled_average", "best_member", "oof")
SETTINGS[CHOSEN] = {kind: SETTINGS[kind] for kind in CANDIDATES}
_FOREST = "ensemble.RandomForestClassifier"
MODELS = {  # Of scikit-learn, which takes a second to import: only where it is needed.
    "paper": _FOREST,
    "oof": _FOREST,
    "logistic": "linear_model.LogisticRegression",
    "boosting": "ensemble.HistGradientBoostingClassifier",
}
_EM_STEPS, _EM_CHANGE = 1000, 1e-6


@dataclasses.dataclass(frozen=True)
class BaseEstimator:
    """A combination fitted on some of the speakers; a stacker averages several.

    Has a model, or weights. Without temperatures the model reads logits as they are.
    """

    temperature: np.ndarray | None = (
        None  # Float, M: members' logits are divided by it.
    )
    weight: np.ndarray | None = None  # Float, M: of the members' probabilities.
    model: Any = None  # One of `MODELS`, of the flattened logits of all members.

    def __call__(self, logits: Float[np.ndarray, "N M C"]) -> Float[np.ndarray, "N C"]:
        """Probabilities of all classes, also of those the model never met."""
        log_p = (
            logits if self.temperature is None else _scaled(logits, self.temperature)
        )
        if self.weight is not None:
            return np.einsum("nmc,m->nc", np.exp(log_p), self.weight)
        p = np.zeros((len(logits), logits.shape[2]))
        p[:, self.model.classes_] = self.model.predict_proba(columns(log_p))
        return p

    def importance(self, classes: int) -> Float[np.ndarray, "M C"] | None:
        """Share of each member and class; None where the model does not say."""
        if self.weight is not None:
            return np.repeat(self.weight[:, None] / classes, classes, axis=1)
        importance = getattr(self.model, "feature_importances_", None)
        return None if importance is None else importance.reshape(-1, classes)


def fit(
    kind: str,
    logits: Float[np.ndarray, "N M C"],
    label: Int[np.ndarray, " N"],
    seed: int,
) -> BaseEstimator:
    """Fits one part.

    Args:
      kind: One of `SETTINGS`, but "chosen".
      logits: Logits; for all kinds but "paper" log-probabilities.
      label: True classes.
      seed: Of the trees.
    """
    if kind in _AS_GIVEN:
        return BaseEstimator(model=_model(kind, seed).fit(columns(logits), label))
    from sklearn.utils import class_weight

    weight = class_weight.compute_sample_weight("balanced", label)
    temperature = np.array(
        [
            calibration.fit_temperature(logits[:, m], label, weight=weight)
            for m in range(logits.shape[1])
        ]
    )
    log_p = _scaled(logits, temperature)
    if kind == "scaled_average":
        return BaseEstimator(
            temperature, weight=np.full(logits.shape[1], 1 / logits.shape[1])
        )
    if kind == "best_member":
        return BaseEstimator(temperature, weight=_best(logits, label))
    if kind == "weighted_average":
        return BaseEstimator(temperature, weight=_mixture(log_p, label, weight))
    return BaseEstimator(
        temperature, model=_model(kind, seed).fit(columns(log_p), label)
    )


_AS_GIVEN = ("paper", "oof")  # A tree cares little for a scale, which all rows share.


def columns(logits: Float[np.ndarray, "N M C"]) -> Float[np.ndarray, "N K"]:
    """What a model reads: the classes of each member, member after member."""
    return logits.reshape(len(logits), -1)


def class_of(kind: str) -> type:
    """The class of scikit-learn that a kind of `MODELS` fits."""
    module, _, name = MODELS[kind].partition(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


def _model(kind: str, seed: int) -> Any:
    jobs = {"n_jobs": -1} if MODELS[kind] == _FOREST else {}
    return class_of(kind)(**SETTINGS[kind], random_state=seed, **jobs)


def _scaled(logits: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Log-probabilities at each member's temperature."""
    scaled = calibration.apply_temperature(logits, temperature[:, None])
    return special.log_softmax(scaled, axis=-1)


def _best(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """All weight to the member of the best macro-F1, the first of equals."""
    M, C = logits.shape[1:]
    predicted = logits.argmax(axis=2)
    macro_f1 = [metrics.scores(label, predicted[:, m], C)["macro_f1"] for m in range(M)]
    return np.eye(M)[int(np.argmax(macro_f1))]


def _mixture(log_p: np.ndarray, label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mixture of members under which the labels are likeliest, by EM."""
    likelihood = np.exp(log_p[np.arange(len(label)), :, label])  # N M.
    share = np.full(log_p.shape[1], 1 / log_p.shape[1])
    for _ in range(_EM_STEPS):
        owed = likelihood * share
        owed /= np.maximum(owed.sum(axis=1, keepdims=True), 1e-300)
        before, share = share, weight @ owed / weight.sum()
        if np.abs(share - before).max() < _EM_CHANGE:
            break
    return share / share.sum()
