"""What combines the members' probabilities: one function per kind, from N M C to N C.

All are fitted to balanced classes: to a world where all are equally frequent, as in the
challenge's test set. docs/stack.md says why. "meta" reads the members' attributes, too.
"""

from collections.abc import Sequence
import dataclasses
import importlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np
from scipy import optimize, special

from jser.config_rules import CHOSEN
from jser.statistics import calibration, metrics

META = "meta"  # The one that reads attributes, and whose logits are averaged.
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
    "greedy": {"steps": 50},
    META: {"max_iter": 1000, "class_weight": "balanced"},
}
# What "chosen" chooses among; of equals the one named first, which learns least.
CANDIDATES = ("scaled_average", "best_member", "oof")
SETTINGS[CHOSEN] = {kind: SETTINGS[kind] for kind in CANDIDATES}
_FOREST = "ensemble.RandomForestClassifier"
MODELS = {  # Of scikit-learn, which takes a second to import: only where it is needed.
    "paper": _FOREST,
    "oof": _FOREST,
    "logistic": "linear_model.LogisticRegression",
    META: "linear_model.LogisticRegression",
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
    model: Any = None  # One of `MODELS`, of `columns` or, of "meta", `meta_columns`.

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

    def decision(
        self,
        logits: Float[np.ndarray, "N M C"],
        attributes: Float[np.ndarray, "N A"],
    ) -> Float[np.ndarray, "N C"]:
        """Logits of all classes by a "meta"; NaN of those it never met."""
        assert self.temperature is not None
        z = self.model.decision_function(
            meta_columns(_scaled(logits, self.temperature), attributes)
        )
        said = np.full((len(logits), logits.shape[2]), np.nan)
        said[:, self.model.classes_] = (
            z if z.ndim == 2 else np.stack([-z / 2, z / 2], axis=1)
        )
        return said

    def importance(self, classes: int) -> Float[np.ndarray, "M C"] | None:
        """Share of each member and class; None where the model does not say."""
        if self.weight is not None:
            return np.repeat(self.weight[:, None] / classes, classes, axis=1)
        importance = getattr(self.model, "feature_importances_", None)
        return None if importance is None else importance.reshape(-1, classes)


def combined(
    kind: str,
    estimators: Sequence[BaseEstimator],
    logits: Float[np.ndarray, "N M C"],
    attributes: Float[np.ndarray, "N A"],
) -> Float[np.ndarray, "N C"]:
    """Probabilities by several base estimators: the mean of theirs.

    Of "meta" those of the mean of their logits, over the ones that met the class. Such
    heads are linear, so that this is what the mean of their weights says: a soup.
    """
    if kind != META:
        return np.mean([e(logits) for e in estimators], axis=0)
    z = np.stack([e.decision(logits, attributes) for e in estimators])
    met = ~np.isnan(z)
    mean = np.where(met, z, 0).sum(axis=0) / np.maximum(met.sum(axis=0), 1)
    return special.softmax(np.where(met.any(axis=0), mean, -np.inf), axis=1)


def fit(
    kind: str,
    logits: Float[np.ndarray, "N M C"],
    attributes: Float[np.ndarray, "N A"],
    label: Int[np.ndarray, " N"],
    seed: int,
) -> BaseEstimator:
    """Fits one part.

    Args:
      kind: One of `SETTINGS`, but "chosen".
      logits: Logits; for all kinds but "paper" log-probabilities.
      attributes: Of the members that predict them, side by side; no columns if none
        does. "meta" alone reads them.
      label: True classes.
      seed: Of the trees, and of the rows that "meta" draws.
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
    if kind == "greedy":
        return BaseEstimator(temperature, weight=_selection(np.exp(log_p), label))
    if kind == META:
        read = meta_columns(log_p, attributes)
        return BaseEstimator(temperature, model=_in_two_stages(read, label, seed))
    return BaseEstimator(
        temperature, model=_model(kind, seed).fit(columns(log_p), label)
    )


_AS_GIVEN = ("paper", "oof")  # A tree cares little for a scale, which all rows share.


def columns(logits: Float[np.ndarray, "N M C"]) -> Float[np.ndarray, "N K"]:
    """What a model reads: the classes of each member, member after member."""
    return logits.reshape(len(logits), -1)


def meta_columns(
    log_p: Float[np.ndarray, "N M C"], attributes: Float[np.ndarray, "N A"]
) -> Float[np.ndarray, "N K"]:
    """What "meta" reads: the members' probabilities and, as they are, attributes."""
    return np.concatenate([columns(np.exp(log_p)), attributes], axis=1)


def balanced_rows(
    label: Int[np.ndarray, " N"], seed: int, at_least: int = 1
) -> Int[np.ndarray, " n"]:
    """As many rows of each class as the rarest has, in their order."""
    rows_of = [np.flatnonzero(label == c) for c in np.unique(label)]
    count = max(at_least, min(map(len, rows_of)))
    drawn = [
        rows[np.random.RandomState(seed).permutation(len(rows))[:count]]
        for rows in rows_of
    ]
    return np.sort(np.concatenate(drawn))


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
    M = logits.shape[1]
    macro_f1 = [_macro_f1(logits[:, m], label) for m in range(M)]
    return np.eye(M)[int(np.argmax(macro_f1))]


def _macro_f1(said: np.ndarray, label: np.ndarray) -> float:
    counts = metrics.confusion(label, said.argmax(axis=1), said.shape[1])
    return float(metrics.macro_f1(counts))


def _selection(p: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Weights by greedy forward selection with replacement (Caruana et al., 2004).

    It starts with the member of the best macro-F1 and adds, step by step, the one with
    which the mean's macro-F1 is best, of equals the one that is better alone. Kept is
    the best of all steps, the earliest of equals, which is never worse than any member
    on these rows. The folds of a stacker are the bags: base estimators are averaged.
    """
    M = p.shape[1]
    alone = [_macro_f1(p[:, m], label) for m in range(M)]
    order = np.argsort(-np.array(alone), kind="stable")
    total, count = p[:, order[0]], np.eye(M)[order[0]]
    best, kept = alone[order[0]], count
    for _ in range(SETTINGS["greedy"]["steps"] - 1):
        found = [_macro_f1(total + p[:, m], label) for m in order]
        added = order[int(np.argmax(found))]
        total, count = total + p[:, added], count + np.eye(M)[added]
        if max(found) > best:
            best, kept = max(found), count
    return kept / kept.sum()


def _in_two_stages(read: np.ndarray, label: np.ndarray, seed: int) -> Any:
    """The meta-classifier of MEDUSA (NTUA, Interspeech 2025), on N K columns.

    A linear one, fitted to all rows with class weights, and from there to as many rows
    of each class as the rarest has, without. Theirs are steps of AdamW, the later ones
    at a tenth of the rate and stopped on dev; the released one has hidden units and
    ends in a ReLU, which is no logit. Here both stages run to their optimum, which does
    not depend on where they start. What holds the second near the first is therefore
    its ridge: it draws the weights not to zero but to those of the first, so that few
    rows change little.
    """
    model = _model(META, seed).fit(read, label)
    rows = balanced_rows(label, seed)
    read = np.column_stack([read[rows], np.ones(len(rows))])
    true = label[rows, None] == model.classes_
    first = np.column_stack([model.coef_, model.intercept_])
    two = len(first) == 1  # Of two classes there is one column, their difference.
    if two:
        first = np.concatenate([-first / 2, first / 2])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = flat.reshape(first.shape) - first
        log_p = special.log_softmax(read @ (first + moved).T, axis=1)
        gradient = (np.exp(log_p) - true).T @ read + moved / model.C
        return (moved**2).sum() / (2 * model.C) - log_p[true].sum(), gradient.ravel()

    found = optimize.minimize(objective, first.ravel(), jac=True, method="L-BFGS-B")
    second = found.x.reshape(first.shape)
    if two:
        second = second[1:] - second[:1]
    model.coef_, model.intercept_ = second[:, :-1], second[:, -1]
    return model


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
