"""Stackers on disk: `stack.json`, and `stacker.skops` of models. docs/stack.md.

skops and scikit-learn are imported where a stacker has models: they take seconds.
"""

from collections.abc import Mapping
import dataclasses
from importlib import metadata
import io
import pathlib
from typing import Any

import numpy as np

import jser
from jser import files
from jser.config_rules import CHOSEN
from jser.corpora.utterances import ATTRIBUTES
from jser.ensemble import combiners
from jser.ensemble.stacking import Stacker

# Of stack.json, where schema 2 began to keep what has no model.
MIGRATIONS = (lambda record: record,)
SCHEMA = 1 + len(MIGRATIONS)
# What skops does not trust by itself: trees. They are safe once their indices are
# checked, which scikit-learn follows without looking where they lead.
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)


def save(folder: pathlib.Path, fitted: Mapping[int, Stacker]) -> None:
    """Writes `stack.json`, which says what they were made of, and `stacker.skops`.

    Args:
      folder: Of the ensemble.
      fitted: By fold; the single one of a train/dev/test protocol is -1.
    """
    path = folder / "stacker.skops"
    models = {str(k): s for k, s in fitted.items() if _has_models(s)}
    if models:
        files.write_atomically(path, _dumped(models))
    one = next(iter(fitted.values()))
    files.write_json(
        folder / "stack.json",
        {
            "schema": SCHEMA,
            "jser": jser.__version__,
            "scikit-learn": metadata.version("scikit-learn"),
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
                    **_own(s),
                    **({} if _has_models(s) else {"estimators": _numbers(s)}),
                }
                for k, s in fitted.items()
            },
            "sha256": files.file_digest(path) if models else "",
        },
    )
    if not models:
        path.unlink(missing_ok=True)


def _has_models(stacker: Stacker) -> bool:
    return any(e.model is not None for e in stacker.estimators)


def _dumped(stackers: Mapping[str, Stacker]) -> bytes:
    import skops.io

    out = io.BytesIO()
    estimators = {
        k: [{f: getattr(e, f) for f in _FIELDS} for e in s.estimators]
        for k, s in stackers.items()
    }
    skops.io.dump(estimators, out)
    return out.getvalue()


def _numbers(stacker: Stacker) -> list[dict[str, list[float]]]:
    """Base estimators without a model, as JSON keeps them to the last bit."""
    return [
        {f: getattr(e, f).tolist() for f in _FIELDS if getattr(e, f) is not None}
        for e in stacker.estimators
    ]


def _own(stacker: Stacker) -> dict[str, Any]:
    """What "chosen" and "meta" have beside what all kinds have."""
    if stacker.kind == CHOSEN:
        return {"chosen": stacker.chosen, "candidates": stacker.candidates}
    if stacker.kind == combiners.META:
        return {"attributes_of": stacker.attributes_of}
    return {}


AGAIN = "Run jser stack again."
_FIELDS = tuple(f.name for f in dataclasses.fields(combiners.BaseEstimator))


def load(folder: pathlib.Path) -> dict[int, Stacker]:
    """Reads the stackers that `save` wrote. Only scikit-learn's own types are trusted.

    Raises:
      ValueError: if the file is not the one that stack.json names, or what it holds is
        no stacker of that kind.
    """
    path, about = folder / "stacker.skops", folder / "stack.json"
    record = files.read_record(about, MIGRATIONS, AGAIN)
    with files.reading(about, AGAIN):
        files.expect(record, {"stacker": str, "sha256": str, "folds": dict})
    if record["sha256"] and files.file_digest(path) != record["sha256"]:
        raise ValueError(f"{path}: not the file stack.json names. {AGAIN}")
    with files.reading(path, AGAIN):
        return _stackers(path, record)


def _stackers(path: pathlib.Path, record: dict[str, Any]) -> dict[int, Stacker]:
    models = _loaded(path) if record["sha256"] else {}
    stackers = {}
    for fold, about in record["folds"].items():
        stacker = Stacker(
            kind=record["stacker"],
            members=tuple(record["members"]),
            labels=tuple(record["labels"]),
            seed=record["seed"],
            estimators=tuple(
                _estimators(about["estimators"])
                if "estimators" in about
                else [combiners.BaseEstimator(**e) for e in models[fold]]
            ),
            held_out=about["held_out"],
            importance=about["importance"],
            made_by=tuple(about["made_by"]),
            learned_from=about["learned_from"],
            chosen=about.get("chosen"),
            candidates=about.get("candidates"),
            attributes_of=tuple(about.get("attributes_of", ())),
        )
        for estimator in stacker.estimators:
            _check(path, stacker, estimator)
        stackers[int(fold)] = stacker
    return stackers


def _loaded(path: pathlib.Path) -> dict[str, Any]:
    import skops.io

    return skops.io.load(path, trusted=list(TRUSTED))


def _estimators(numbers: list[dict[str, Any]]) -> list[combiners.BaseEstimator]:
    """What `_numbers` wrote."""
    return [
        combiners.BaseEstimator(**{f: np.array(x, float) for f, x in e.items()})
        for e in numbers
    ]


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
    wanted = combiners.class_of(kind) if kind in combiners.MODELS else type(None)
    if type(model) is not wanted:
        raise ValueError(f"{path}: a {type(model).__name__} in a {kind} stacker.")
    if model is None:
        return
    columns = M * C + len(ATTRIBUTES) * len(stacker.attributes_of)
    if model.n_features_in_ != columns or not np.isin(model.classes_, range(C)).all():
        raise ValueError(f"{path}: a model of other members or labels. {AGAIN}")
    for tree in _trees(model):
        _refuse_broken(path, tree, columns)


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
