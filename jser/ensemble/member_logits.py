"""The members' logits on disk: what an ensemble is scored by and learns from."""

from collections.abc import Hashable
import dataclasses
import itertools
from typing import TypeVar

import numpy as np

from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble import provenance, stacking
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import folds, holding_out, is_cross_validated
from jser.roots import HELDOUT, Roots

K = TypeVar("K", bound=Hashable)  # A split, a fold, or a pair of folds.


@dataclasses.dataclass(frozen=True)
class MemberLogits:
    """Reads what the trainings of `out_of_fold.plan` left.

    What a front end of one member could not encode is left out of all members' logits.

    Every method raises FileNotFoundError if a member has not predicted yet, and
    ValueError if logits are not of the run they lie in, or not of the table.
    """

    ensemble: Ensemble
    roots: Roots
    table: Table

    def by_split(self) -> dict[str, dict[str, Logits]]:
        """By member and split, on the splits that a member may be judged on."""
        train = self.ensemble.members[0].data.train_split
        if is_cross_validated(self.ensemble):
            return {
                m: {train: Logits.concatenate(list(by_fold.values()))}
                for m, by_fold in self.by_fold().items()
            }
        splits = sorted({u.split for u in self.table.utterances} - {train})
        members = self.ensemble.members
        return self._alike(
            {m.name: {s: self._read(m, (), s) for s in splits} for m in members}
        )

    def by_fold(self) -> dict[str, dict[int, Logits]]:
        """By member and fold, on the fold that the member was trained without."""
        members, numbers = self.ensemble.members, self._folds()
        return self._alike(
            {m.name: {k: self._read(m, (k,)) for k in numbers} for m in members}
        )

    def known(self) -> stacking.Joined:
        """What a stacker learns from: the train split, in sample for "paper"."""
        members = self.ensemble.members
        if self.ensemble.stacker == "paper":
            train = members[0].data.train_split
            own = {m.name: {train: self._read(m, (), train)} for m in members}
            return _join(self._alike(own), train)
        out_of_fold = {
            m: Logits.concatenate(list(by_fold.values()))
            for m, by_fold in self.by_fold().items()
        }
        return stacking.join(out_of_fold)

    def known_by_fold(self) -> dict[int, stacking.Joined]:
        """By fold, what its stacker learns from: all others, in sample for "paper"."""
        members, numbers = self.ensemble.members, self._folds()
        if self.ensemble.stacker == "paper":
            return {k: self._in_sample_without(k) for k in numbers}
        pairs = list(itertools.combinations(numbers, 2))
        inner = self._alike(
            {m.name: {p: self._read(m, p) for p in pairs} for m in members}
        )
        return {k: stacking.known_without(k, inner) for k in numbers}

    def _in_sample_without(self, k: int) -> stacking.Joined:
        own = {}
        for m in self.ensemble.members:
            everything = self._read(m, (k,), tables.CROSS_VALIDATED)
            own[m.name] = {k: everything.take(everything.fold != k)}
        return _join(self._alike(own), k)

    def _alike(
        self, by_member: dict[str, dict[K, Logits]]
    ) -> dict[str, dict[K, Logits]]:
        """The logits without the utterances that only some members could encode."""
        ids = [
            {key: set(x.utt_id.tolist()) for key, x in logits.items()}
            for logits in by_member.values()
        ]
        if all(x == ids[0] for x in ids):
            return by_member
        failed = sorted(
            set().union(
                *(provenance.failures(m, self.roots) for m in self.ensemble.members)
            )
        )
        return {
            m: {key: x.take(~np.isin(x.utt_id, failed)) for key, x in logits.items()}
            for m, logits in by_member.items()
        }

    def _folds(self) -> list[int]:
        return folds(self.ensemble, self.table)

    def _read(
        self, member: Experiment, holdout: tuple[int, ...], split: str = HELDOUT
    ) -> Logits:
        experiment = holding_out(member, holdout)
        workdir = self.roots.workdir(experiment)
        return provenance.of_run(workdir, experiment, split, self.table, self.roots)


def _join(by_member: dict[str, dict[K, Logits]], key: K) -> stacking.Joined:
    return stacking.join({m: logits[key] for m, logits in by_member.items()})
