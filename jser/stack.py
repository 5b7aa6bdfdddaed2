"""Combines the members' logits: their average, and a balanced random forest.

The forest learns from out-of-fold logits alone: what a member says of an utterance it
was trained on is surer than what it will say of a new one. No JAX here. docs/stack.md.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import pathlib

import numpy as np
import sklearn
from sklearn import ensemble
import skops.io

import jser
from jser import files
from jser import logits as logits_files
from jser.logits import Logits

# The paper's forest, but balanced by class weights in place of throwing rows away.
_FOREST = {
    "n_estimators": 500,
    "max_depth": 8,
    "min_samples_split": 10,
    "min_samples_leaf": 10,
    "class_weight": "balanced_subsample",
    "n_jobs": -1,
}
Forest = ensemble.RandomForestClassifier


@dataclasses.dataclass(frozen=True)
class Joined:
    """The logits of all members on the same utterances."""

    first: Logits  # Ids, labels and folds; `in_sample` if any member saw the row.
    log_p: np.ndarray  # Float, N M C; each member's log-probabilities.
    made_by: list[str]

    @property
    def columns(self) -> np.ndarray:
        """What the forest reads, [N, M C]; member after member."""
        return self.log_p.reshape(len(self.log_p), -1)


def join(members: Mapping[str, Logits]) -> Joined:
    """Aligns the members by utt_id.

    Logits are turned into log-probabilities: they are defined only up to a constant per
    utterance, which a forest would take for a signal.

    Raises:
      ValueError: if the members do not hold the same utterances, labels or label sets,
        naming two members and an utterance.
    """
    ordered = {m: x.take(np.argsort(x.utt_id)) for m, x in members.items()}
    (name, first), *_ = ordered.items()
    for other, found in ordered.items():
        if not np.array_equal(found.labels, first.labels):
            raise ValueError(f"{other} and {name} have different label sets.")
        if odd := set(found.utt_id.tolist()) ^ set(first.utt_id.tolist()):
            raise ValueError(
                f"{other} and {name} do not hold the same utterances: {len(odd)} are in"
                f" one alone, e.g. {min(odd)!r}. Run scripts/predict.py for both."
            )
        for column in ("label", "fold", "speaker"):
            differs = getattr(found, column) != getattr(first, column)
            if differs.any():
                raise ValueError(
                    f"{other} and {name} differ in the {column} of"
                    f" {str(first.utt_id[differs][0])!r}. Train both on one table."
                )
    everyone = list(ordered.values())
    seen = np.any([x.in_sample for x in everyone], axis=0)
    return Joined(
        first=dataclasses.replace(first, in_sample=seen),
        log_p=np.stack([log_softmax(x.logits) for x in everyone], axis=1),
        made_by=[str(m) for x in everyone for m in x.made_by],
    )


def fit(out_of_fold: Joined, *, seed: int) -> Forest:
    """Fits the forest on out-of-fold logits.

    Raises:
      ValueError: if a member was trained on one of the utterances, or labels are held
        back.
    """
    leaked = out_of_fold.first.utt_id[out_of_fold.first.in_sample]
    if len(leaked):
        raise ValueError(
            f"{len(leaked)} utterances, e.g. {str(leaked[0])!r}, were in their member's"
            " training: stacking needs out-of-fold logits (train with data.holdout)."
        )
    if (out_of_fold.first.label < 0).any():
        raise ValueError("the stacker needs labels, and some are held back.")
    forest = Forest(**_FOREST, random_state=seed)
    return forest.fit(out_of_fold.columns, out_of_fold.first.label)


def apply(forest: Forest, joined: Joined) -> Logits:
    """What the forest says: log-probabilities of all classes, also of ones unseen."""
    p = np.zeros((len(joined.first), len(joined.first.labels)))
    p[:, forest.classes_] = forest.predict_proba(joined.columns)
    return _as_logits(joined, p)


def average(joined: Joined) -> Logits:
    """The mean of the members' probabilities, as log-probabilities."""
    return _as_logits(joined, np.exp(joined.log_p).mean(axis=1))


def cross_validate(
    outer: Mapping[str, Mapping[int, Logits]],
    inner: Mapping[str, Mapping[tuple[int, int], Logits]],
    *,
    seed: int,
) -> tuple[Logits, dict[int, Forest]]:
    """Stacks inside cross-validation, without a member having seen the fold under test.

    For fold k the forest learns from every other fold r, by the logits that members
    trained without k *and* r gave of r; then it is applied to what the members trained
    without k said of k.

    Args:
      outer: By member and fold k, its logits of k when trained without k.
      inner: By member and pair (i, j), i < j, its logits of both, trained without both.
      seed: Of the forests.

    Returns:
      Log-probabilities of all utterances, and the forest of each fold.
    """
    folds = sorted(next(iter(outer.values())))
    said, forests = [], {}
    for k in folds:
        learned_from = {}
        for member, pairs in inner.items():
            others = []
            for r in folds:
                if r != k:
                    both = pairs[min(k, r), max(k, r)]
                    others.append(both.take(both.fold == r))
            learned_from[member] = logits_files.concatenate(others)
        forests[k] = fit(join(learned_from), seed=seed)
        said.append(apply(forests[k], join({m: x[k] for m, x in outer.items()})))
    return logits_files.concatenate(said), forests


def save(
    folder: pathlib.Path,
    forests: Mapping[int, Forest],
    *,
    members: Sequence[str],
    labels: Sequence[str],
    made_by: Sequence[str],
    seed: int,
) -> None:
    """Writes `stacker.skops` and `stack.json`, which says what they were made of.

    Args:
      folder: Of the ensemble.
      forests: By fold; the single one of a train/dev/test protocol is -1.
      members: Names, in the order of the forest's columns.
      labels: The label set.
      made_by: Digests of the runs whose logits were learned from.
      seed: Of the forests.
    """
    out = io.BytesIO()
    skops.io.dump({str(k): f for k, f in forests.items()}, out)
    files.write_atomically(folder / "stacker.skops", out.getvalue())
    files.write_json(
        folder / "stack.json",
        {
            "jser": jser.__version__,
            "scikit-learn": sklearn.__version__,
            "members": list(members),
            "labels": list(labels),
            "forest": _FOREST | {"random_state": seed},
            "made_by": sorted(set(made_by)),
            "sha256": files.file_digest(folder / "stacker.skops"),
        },
    )


def load(folder: pathlib.Path) -> dict[int, Forest]:
    """Reads the forests that `save` wrote. Only scikit-learn's own types are trusted.

    Raises:
      ValueError: if the file is not the one that stack.json names, or a tree in it is
        not one.
    """
    path = folder / "stacker.skops"
    if files.file_digest(path) != files.read_json(folder / "stack.json")["sha256"]:
        raise ValueError(f"{path}: not the file stack.json names; stack again.")
    forests = skops.io.load(path, trusted=[_TREE])
    for forest in forests.values():
        _refuse_broken_trees(path, forest)
    return {int(k): f for k, f in forests.items()}


_TREE = "sklearn.tree._tree.Tree"  # Safe once its indices are checked.


def _refuse_broken_trees(path: pathlib.Path, forest: Forest) -> None:
    """scikit-learn follows a tree's indices without looking where they lead."""
    for estimator in forest.estimators_:
        tree = estimator.tree_
        nodes = np.arange(tree.node_count)
        leaf = tree.children_left == -1
        for children in (tree.children_left, tree.children_right):
            # A child comes after its parent, so that a walk down must end.
            ok = leaf | ((children > nodes) & (children < tree.node_count))
            if not ok.all():
                raise ValueError(f"{path}: a tree leads nowhere; stack again.")
        if not (leaf | ((tree.feature >= 0) & (tree.feature < tree.n_features))).all():
            raise ValueError(f"{path}: a tree reads an unknown column; stack again.")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [..., C] in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _as_logits(joined: Joined, p: np.ndarray) -> Logits:
    return dataclasses.replace(
        joined.first,
        logits=np.log(np.maximum(p, 1e-12)).astype(np.float32),
        made_by=np.array(sorted(set(joined.made_by))),
    )
