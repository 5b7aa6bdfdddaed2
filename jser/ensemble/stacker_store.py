"""Stackers on disk: `stacker.skops` and `stack.json`. docs/stack.md."""

from collections.abc import Mapping
import dataclasses
import io
import pathlib
from typing import Any

import numpy as np
import sklearn
import skops.io

import jser
from jser import files
from jser.config import CHOSEN
from jser.ensemble import combiners
from jser.ensemble.stacking import Stacker

# What skops does not trust by itself: trees. They are safe once their indices are
# checked, which scikit-learn follows without looking where they lead.
SCHEMA = 1  # Of stack.json.
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


def save(folder: pathlib.Path, fitted: Mapping[int, Stacker]) -> None:
    """Writes `stacker.skops` and `stack.json`, which says what they were made of.

    Args:
      folder: Of the ensemble.
      fitted: By fold; the single one of a train/dev/test protocol is -1.
    """
    out = io.BytesIO()
    estimators = {
        str(k): [{f: getattr(e, f) for f in _FIELDS} for e in s.estimators]
        for k, s in fitted.items()
    }
    skops.io.dump(estimators, out)
    files.write_atomically(folder / "stacker.skops", out.getvalue())
    one = next(iter(fitted.values()))
    files.write_json(
        folder / "stack.json",
        {
            "schema": SCHEMA,
            "jser": jser.__version__,
            "scikit-learn": sklearn.__version__,
            "stacker": one.kind,
            "members": one.members,
            "labels": one.labels,
            "settings": combiners.SETTINGS[one.kind],
            "seed": one.seed,
            "made_by": sorted({m for s in fitted.values() for m in s.made_by}),
            "folds": {
                str(k): {
                    "made_by": s.made_by,
                    "learned_from": s.learned_from,
                    "held_out": s.held_out,
                    "importance": s.importance,
                    **_choice(s),
                }
                for k, s in fitted.items()
            },
            "sha256": files.file_digest(folder / "stacker.skops"),
        },
    )


def _choice(stacker: Stacker) -> dict[str, Any]:
    """What "chosen" has beside what all kinds have."""
    if stacker.kind != CHOSEN:
        return {}
    return {"chosen": stacker.chosen, "candidates": stacker.candidates}


AGAIN = "Run jser stack again."
_FIELDS = tuple(f.name for f in dataclasses.fields(combiners.BaseEstimator))


def load(folder: pathlib.Path) -> dict[int, Stacker]:
    """Reads the stackers that `save` wrote. Only scikit-learn's own types are trusted.

    Raises:
      ValueError: if the file is not the one that stack.json names, or what it holds is
        no stacker of that kind.
    """
    path, about = folder / "stacker.skops", folder / "stack.json"
    record = files.read_record(about, remedy=AGAIN)
    with files.reading(about, AGAIN):
        files.expect(record, {"stacker": str, "sha256": str, "folds": dict})
    if files.file_digest(path) != record["sha256"]:
        raise ValueError(f"{path}: not the file stack.json names. {AGAIN}")
    with files.reading(path, AGAIN):
        return _stackers(path, record)


def _stackers(path: pathlib.Path, record: dict[str, Any]) -> dict[int, Stacker]:
    estimators = skops.io.load(path, trusted=list(TRUSTED))
    stackers = {}
    for fold, about in record["folds"].items():
        stacker = Stacker(
            kind=record["stacker"],
            members=tuple(record["members"]),
            labels=tuple(record["labels"]),
            seed=record["seed"],
            estimators=tuple(combiners.BaseEstimator(**e) for e in estimators[fold]),
            held_out=about["held_out"],
            importance=about["importance"],
            made_by=tuple(about["made_by"]),
            learned_from=about["learned_from"],
            chosen=about.get("chosen"),
            candidates=about.get("candidates"),
        )
        for estimator in stacker.estimators:
            _check(path, stacker, estimator)
        stackers[int(fold)] = stacker
    return stackers


def _check(
    path: pathlib.Path, stacker: Stacker, estimator: combiners.BaseEstimator
) -> None:
    M, C = len(stacker.members), len(stacker.labels)
    for numbers in (estimator.temperature, estimator.weight):
        if numbers is not None and numbers.shape != (M,):
            raise ValueError(f"{path}: not a number for each of {M} members.")
    model, kind = estimator.model, stacker.kind
    if kind == CHOSEN:
        kind = stacker.chosen
        if kind not in combiners.CANDIDATES:
            raise ValueError(f"{path}: {kind!r} cannot have been chosen. {AGAIN}")
    if type(model) is not combiners.MODELS.get(kind, type(None)):
        raise ValueError(f"{path}: a {type(model).__name__} in a {kind} stacker.")
    if model is None:
        return
    if model.n_features_in_ != M * C or not np.isin(model.classes_, range(C)).all():
        raise ValueError(f"{path}: a model of other members or labels. {AGAIN}")
    for tree in _trees(model):
        _refuse_broken(path, tree, columns=M * C)


@dataclasses.dataclass(frozen=True)
class _Tree:
    """What is alike in the trees of a forest and of boosting."""

    leaf: np.ndarray  # Bool, nodes.
    children: tuple[np.ndarray, np.ndarray]  # Int, nodes: numbers of nodes.
    feature: np.ndarray  # Int, nodes.


def _trees(model: Any) -> list[_Tree]:
    if hasattr(model, "estimators_"):
        return [
            _Tree(t.children_left == -1, (t.children_left, t.children_right), t.feature)
            for t in (e.tree_ for e in model.estimators_)
        ]
    if hasattr(model, "_predictors"):
        every = [p.nodes for step in model._predictors for p in step]
        if any(n["is_categorical"].any() for n in every):
            raise ValueError("boosting over categories, and a stacker has none.")
        return [
            _Tree(n["is_leaf"] != 0, (n["left"], n["right"]), n["feature_idx"])
            for n in every
        ]
    return []


def _refuse_broken(path: pathlib.Path, tree: _Tree, columns: int) -> None:
    nodes = np.arange(len(tree.leaf))
    if not len(nodes):
        raise ValueError(f"{path}: a tree without a root. {AGAIN}")
    for children in tree.children:
        # A child comes after its parent, so that a walk down must end.
        onward = (children.astype(np.int64) > nodes) & (children < len(nodes))
        if not (tree.leaf | onward).all():
            raise ValueError(f"{path}: a tree leads nowhere. {AGAIN}")
    if not (tree.leaf | ((tree.feature >= 0) & (tree.feature < columns))).all():
        raise ValueError(f"{path}: a tree reads an unknown column. {AGAIN}")
