"""The out-of-fold plan: which trainings an ensemble needs, and who predicts whom."""

import dataclasses
import itertools

from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.roots import HELDOUT


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and the splits it is to predict."""

    experiment: Experiment  # With its folds held out.
    splits: tuple[str, ...]


def plan(ensemble: Ensemble, table: Table) -> list[Run]:
    """The trainings an ensemble needs.

    With train, dev and test: each member once on all of train, and, for a stacker that
    learns from out-of-fold logits, once for each fold of train, which it leaves out. In
    cross-validation: each member once without each fold, and, for such a stacker, once
    without each pair of folds; one pair serves the stackers of both its folds.

    The stacker "paper" trains nothing more; members predict their training rows too.

    Raises:
      ValueError: if the table has too few folds.
    """
    train, crossed = ensemble.members[0].data.train_split, is_cross_validated(ensemble)
    numbers = folds(ensemble, table)
    stacked = ensemble.stacker not in ("average", "paper")
    holdouts: list[tuple[int, ...]] = []
    if crossed:
        holdouts += [(k,) for k in numbers]
        holdouts += itertools.combinations(numbers, 2) if stacked else []
    else:
        holdouts += [()]
        holdouts += [(k,) for k in numbers] if stacked else []
    needed = 3 if stacked else 2 if crossed else 0
    if len(numbers) < needed:
        raise ValueError(
            f"{table.folder}: {len(numbers)} folds, and {ensemble.name} needs {needed}"
            " to hold some out. Make more with jser prepare --folds."
        )
    others = tuple(sorted({u.split for u in table.utterances} - {train}))
    own = (train,) if ensemble.stacker == "paper" else ()
    return [
        Run(holding_out(member, h), ((HELDOUT,) if h else others) + own)
        for h in holdouts
        for member in ensemble.members
    ]


def holding_out(member: Experiment, holdout: tuple[int, ...]) -> Experiment:
    """The member without some folds."""
    return dataclasses.replace(
        member, data=dataclasses.replace(member.data, holdout=holdout)
    )


def folds(ensemble: Ensemble, table: Table) -> list[int]:
    """The folds of the train split."""
    rows = table.select(ensemble.members[0].data.train_split)
    return sorted({u.fold for u in rows if u.fold is not None})


def is_cross_validated(ensemble: Ensemble) -> bool:
    """Whether the folds are the protocol, without dev and test splits."""
    return ensemble.members[0].data.train_split == tables.CROSS_VALIDATED
