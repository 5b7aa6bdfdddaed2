"""Combines the members' logits into one system. No JAX here. docs/stack.md.

A stacker learns from out-of-fold logits: what a member says of an utterance it was
trained on, or of a speaker it was, is surer than what it will say of a new one.
"""

from collections.abc import Iterator, Mapping
import dataclasses

from absl import logging
import numpy as np
from scipy import special
from tqdm import tqdm

from jser import files
from jser.config_rules import CHOSEN, NONE
from jser.ensemble import combiners
from jser.ensemble.combiners import META, balanced_rows
from jser.ensemble.logits import Logits
from jser.statistics import metrics

_FOLDS = 5
_FEWEST = 50  # Rows of a class that "oof" draws, where the rarest has fewer.


@dataclasses.dataclass(frozen=True)
class Joined:
    """The logits of all members on the same utterances."""

    # Ids, labels, folds; `in_sample`, `adapt` and so on by any member; of `attributes`
    # the mean over the members that have them.
    first: Logits
    members: tuple[str, ...]
    logits: np.ndarray  # Float64, N M C; as the members gave them.
    made_by: list[str]
    # Float64, N 3: by member that predicts them; docs/logits.md.
    attributes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def rated(self) -> np.ndarray:
        """The attributes side by side, [N, A]; no columns if no member has any."""
        nothing = np.zeros((len(self.logits), 0))
        return np.concatenate([nothing, *self.attributes.values()], axis=1)

    @property
    def log_p(self) -> np.ndarray:
        """Each member's log-probabilities, [N, M, C].

        Logits are defined only up to a constant per utterance, which a forest would
        take for a signal.
        """
        return special.log_softmax(self.logits, axis=-1)


def join(members: Mapping[str, Logits]) -> Joined:
    """Aligns the members by utt_id.

    Raises:
      ValueError: if the members do not hold the same utterances, labels or label sets,
        naming two members and an utterance.
    """
    ordered = {m: x.take(np.argsort(x.utt_id)) for m, x in members.items()}
    (name, first), *_ = ordered.items()
    for other, logits in ordered.items():
        if not np.array_equal(logits.labels, first.labels):
            raise ValueError(f"{other} and {name} have different label sets.")
        if odd := set(logits.utt_id.tolist()) ^ set(first.utt_id.tolist()):
            raise ValueError(
                f"{other} and {name} do not hold the same utterances: {len(odd)} are in"
                f" one alone, e.g. {min(odd)!r}. Run jser predict for both."
            )
        for column in ("label", "fold", "speaker"):
            differs = getattr(logits, column) != getattr(first, column)
            if differs.any():
                raise ValueError(
                    f"{other} and {name} differ in the {column} of"
                    f" {str(first.utt_id[differs][0])!r}. Train both on one table."
                )
    everyone = list(ordered.values())
    seen = {
        column: np.any([getattr(x, column) for x in everyone], axis=0)
        for column in ("in_sample", "speaker_seen")
    }
    adapted = [x.adapt for x in everyone if x.adapt != NONE]
    rated = {m: x.attributes for m, x in ordered.items() if x.attributes.shape[1]}
    mean = np.mean([*rated.values()], axis=0) if rated else first.attributes
    return Joined(
        first=dataclasses.replace(
            first, adapt=max(adapted, default=NONE), attributes=mean, **seen
        ),
        members=tuple(ordered),
        logits=np.stack([x.logits.astype(np.float64) for x in everyone], axis=1),
        made_by=[str(m) for x in everyone for m in x.made_by],
        attributes={m: x.astype(np.float64) for m, x in rated.items()},
    )


def average(joined: Joined) -> Logits:
    """The mean of the members' probabilities, as log-probabilities; nothing fitted."""
    return _as_logits(joined, np.exp(joined.log_p).mean(axis=1))


@dataclasses.dataclass(frozen=True)
class Stacker:
    """A fitted combination: the mean of its base estimators, `combiners.combined`.

    `importance` is of each member and class, [M, C], of 1 in all: a forest's by
    decrease of impurity, a mixture's by weight; None for other kinds. Of the kind
    "chosen", `chosen` is the kind of its base estimators, and `candidates` has what
    `held_out` is of every kind that it could have been.
    """

    kind: str
    members: tuple[str, ...]  # In the order of the columns.
    labels: tuple[str, ...]
    seed: int
    estimators: tuple[combiners.BaseEstimator, ...]
    held_out: dict[str, float]  # Scores of each on the rows it was not fitted on.
    importance: list[list[float]] | None
    made_by: tuple[str, ...]  # Digests of the runs whose logits it learned from ...
    learned_from: str  # ... and of these logits and labels.
    chosen: str | None = None
    candidates: dict[str, dict[str, float]] | None = None
    attributes_of: tuple[str, ...] = ()  # Members whose attributes a "meta" reads.


def fit(kind: str, known: Joined, seed: int) -> Stacker:
    """Fits a stacker.

    The rows are divided into five folds, speaker-disjoint and alike in classes; each
    base estimator is fitted without one of them, and scored on it. Classes are
    balanced: one of "oof" draws as many rows of each as the rarest has (50 where it has
    fewer: what is then uneven is evened by weights), the other kinds weight them.

    "best_member" is scored so, each fold by the member that is best on the others; it
    then is the member that is best on all rows. "chosen" is whichever of
    `combiners.CANDIDATES` has the best macro-F1 `held_out`.

    "paper" does as published instead: it draws as many rows of each class as the rarest
    has, divides them by a stratified five-fold split that knows no speakers, and reads
    logits of four decimals. It alone takes logits of rows that its members were trained
    on, as published; its `held_out` scores are then far too good.

    Args:
      kind: One of `combiners.SETTINGS`.
      known: What the members say of utterances, out of fold, and the true labels.
      seed: Of the folds and of the trees.

    Raises:
      ValueError: if a member was trained on one of the utterances, or on its speaker;
        if labels are held back; if there are fewer than two speakers.
    """
    meta = kind == META
    if kind not in combiners.SETTINGS:
        raise ValueError(f"{kind!r} is not one of {', '.join(combiners.SETTINGS)}.")
    if (known.first.label < 0).any():
        raise ValueError("the stacker needs labels, and some are held back.")
    if kind == CHOSEN:
        return _choose(known, seed)
    if kind == "paper":
        known = _take(known, balanced_rows(known.first.label, seed))
    else:
        _refuse_leaks(known.first)
    read, rated, label = _read(kind, known), known.rated, known.first.label
    p, estimators = np.zeros((len(label), read.shape[2])), []
    folds = list(_folds(kind, known.first, seed))
    told = tqdm(folds, desc=f"fitting stacker {kind!r}", unit="base estimator")
    for n, (fitted_on, rest) in enumerate(told):
        if kind == "oof":
            drawn = balanced_rows(label[fitted_on], seed + n, at_least=_FEWEST)
            fitted_on = fitted_on[drawn]
        estimator = combiners.fit(
            kind, read[fitted_on], rated[fitted_on], label[fitted_on], seed
        )
        p[rest] = combiners.combined(kind, [estimator], read[rest], rated[rest])
        estimators.append(estimator)
    if kind == "best_member":
        estimators = [combiners.fit(kind, read, rated, label, seed)]
    return Stacker(
        kind=kind,
        members=known.members,
        labels=tuple(known.first.labels.tolist()),
        seed=seed,
        estimators=tuple(estimators),
        held_out=metrics.scores(label, p.argmax(axis=1), p.shape[1]),
        importance=_importance(estimators, p.shape[1]),
        made_by=tuple(sorted(set(known.made_by))),
        learned_from=files.digest(
            "\n".join(known.first.utt_id.tolist()),
            *(x.tobytes() for x in ((read, label, rated) if meta else (read, label))),
        ),
        attributes_of=tuple(known.attributes) if meta else (),
    )


def _choose(known: Joined, seed: int) -> Stacker:
    """The candidate of the best macro-F1 on rows that it was not fitted on."""
    fitted = {kind: fit(kind, known, seed) for kind in combiners.CANDIDATES}
    scores = {kind: stacker.held_out for kind, stacker in fitted.items()}
    chosen = max(scores, key=lambda kind: scores[kind]["macro_f1"])
    told = ", ".join(f"{kind} {x['macro_f1']:.3f}" for kind, x in scores.items())
    logging.info("chosen by macro-F1 out of fold: %s (%s)", chosen, told)
    return dataclasses.replace(
        fitted[chosen], kind=CHOSEN, chosen=chosen, candidates=scores
    )


def _importance(
    estimators: list[combiners.BaseEstimator], classes: int
) -> list[list[float]] | None:
    known = [x for e in estimators if (x := e.importance(classes)) is not None]
    return np.mean(known, axis=0).tolist() if known else None


def apply(stacker: Stacker, joined: Joined) -> Logits:
    """What the stacker says: log-probabilities of all classes, also of ones unseen.

    Raises:
      ValueError: if the members or the labels are not those it was fitted with, or
        others of them have attributes.
    """
    rated = tuple(joined.attributes) if stacker.kind == META else ()
    for what, then, now in (
        ("members", stacker.members, joined.members),
        ("labels", stacker.labels, tuple(joined.first.labels.tolist())),
        ("attributes of", stacker.attributes_of, rated),
    ):
        if then != now:
            raise ValueError(
                f"the stacker was fitted with {what} {', '.join(then) or 'nobody'}, not"
                f" {', '.join(now) or 'nobody'}; stack again."
            )
    read = _read(stacker.kind, joined)
    p = combiners.combined(stacker.kind, stacker.estimators, read, joined.rated)
    return _as_logits(joined, p)


def cross_validate(
    kind: str, outer: Mapping[int, Joined], known: Mapping[int, Joined], seed: int
) -> tuple[Logits, dict[int, Stacker]]:
    """Stacks inside cross-validation: the stacker of fold k must not know k.

    Args:
      kind: One of `combiners.SETTINGS`.
      outer: By fold k, what the members trained without k say of k.
      known: By fold k, what its stacker learns from: `known_without`, or, for "paper",
        what the members trained without k say of all other folds.
      seed: Of the stackers.

    Returns:
      Log-probabilities of all utterances, and the stacker of each fold.

    Raises:
      ValueError: if `known[k]` holds rows of fold k.
    """
    by_fold, fitted = [], {}
    for n, k in enumerate(sorted(outer), 1):
        logging.info("stacking without fold %d: %d of %d", k, n, len(outer))
        if (known[k].first.fold == k).any():
            raise ValueError(f"the stacker of fold {k} must not learn from fold {k}.")
        fitted[k] = fit(kind, known[k], seed)
        by_fold.append(apply(fitted[k], outer[k]))
    return Logits.concatenate(by_fold), fitted


def known_without(
    k: int, inner: Mapping[str, Mapping[tuple[int, int], Logits]]
) -> Joined:
    """Out-of-fold logits of all folds but k, by members that did not see k either.

    Of every other fold r speak the members that were trained without k *and* r.

    Args:
      k: The fold under test.
      inner: By member and pair (i, j), i < j, its logits of both, trained without both.
    """
    return join(
        {
            member: Logits.concatenate(
                [both.take(both.fold != k) for pair, both in pairs.items() if k in pair]
            )
            for member, pairs in inner.items()
        }
    )


def _read(kind: str, joined: Joined) -> np.ndarray:
    """What a kind reads of the members, [N, M, C]."""
    return np.round(joined.logits, 4) if kind == "paper" else joined.log_p


def _folds(
    kind: str, rows: Logits, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that a base estimator is fitted on, and the rest, one after the other."""
    from sklearn import model_selection

    counts = np.unique(rows.label, return_counts=True)[1]
    if kind == "paper":
        if counts.min() < _FOLDS:
            raise ValueError(
                f"stacker 'paper' needs {_FOLDS} utterances of each class, and the"
                f" rarest has {counts.min()}."
            )
        folds = model_selection.StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
        return folds.split(rows.utt_id, rows.label)
    # Where nobody is named, utterances are all there is; else the unnamed are one.
    group = rows.speaker if (rows.speaker != "").any() else rows.utt_id
    count = min(_FOLDS, len(np.unique(group)), int(counts.max()))
    if count < 2:
        raise ValueError(
            f"the stacker learns from several speakers, and all {len(rows)} utterances"
            f" are by {str(group[0])!r}. Combine by stacker 'average' instead."
        )
    folds = model_selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return folds.split(rows.utt_id, rows.label, group)


def _refuse_leaks(rows: Logits) -> None:
    for seen, what, mend in (
        (rows.in_sample, "were", "train with data.holdout"),
        (
            rows.speaker_seen,
            "are by speakers who were",
            "prepare speaker-disjoint folds",
        ),
    ):
        if seen.any():
            raise ValueError(
                f"{seen.sum()} utterances, e.g. {str(rows.utt_id[seen][0])!r}, {what}"
                " in their member's training: stacking needs out-of-fold logits"
                f" ({mend})."
            )


def _take(joined: Joined, rows: np.ndarray) -> Joined:
    return dataclasses.replace(
        joined,
        first=joined.first.take(rows),
        logits=joined.logits[rows],
        attributes={m: x[rows] for m, x in joined.attributes.items()},
    )


def _as_logits(joined: Joined, p: np.ndarray) -> Logits:
    return dataclasses.replace(
        joined.first,
        logits=np.log(np.maximum(p, 1e-12)).astype(np.float32),
        made_by=np.array(sorted(set(joined.made_by))),
    )
