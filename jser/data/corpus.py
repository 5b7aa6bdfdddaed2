"""A corpus as training and prediction see it: table, features, padded lengths."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from jser.config import Data
from jser.config_rules import SPEAKER
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.data.padding import LengthBuckets
from jser.data.split import Split
from jser.features import store
from jser.features.store import FeatureSet
from jser.roots import ALL, HELDOUT, Roots


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A table and the features of its streams, opened for one experiment."""

    table: Table
    streams: Mapping[str, FeatureSet]
    buckets: LengthBuckets
    config: Data

    @property
    def specs(self) -> dict[str, Any]:
        """The spec of each stream's front end, which a checkpoint is bound to."""
        return {s: f.spec for s, f in self.streams.items()}

    def train(self, *, soft: bool = False) -> Split:
        """The utterances to train on: the train split less the folds held out.

        With `soft` also those without a majority, whose target is the raters' votes.

        Raises:
          ValueError: if none is left.
        """
        c = self.config
        rows = [u for u in _train_split(self.table, c) if u.fold not in c.holdout]
        learned = [u for u in rows if soft or not tables.without_majority(u)]
        if rows and not learned:
            raise ValueError(
                f"{self.table.folder}: raters agreed on no emotion of any utterance of"
                f" {c.train_split!r}. What they said is learned with"
                " --config.loss.soft_labels=true."
            )
        return self._join(learned)

    def split(self, name: str) -> Split:
        """The utterances of a split of the table, those held out (`HELDOUT`), or all.

        Raises:
          ValueError: if there is no such split, or nothing was held out.
        """
        return self._join(rows_of(self.table, self.config, name))

    def _join(self, rows: Sequence[Utterance]) -> Split:
        c = self.config
        adapted = c.standardize if c.adapt == SPEAKER else ()
        return Split.join(self.table, rows, self.streams, adapted)


def rows_of(table: Table, c: Data, name: str) -> list[Utterance]:
    """The utterances of a split of the table, those held out (`HELDOUT`), or all.

    Those without a majority, which no class can be scored by, are not among them.

    Raises:
      ValueError: if there is no such split, nothing was held out, or none of it can be
        scored.
    """
    if name == ALL and all(u.split != ALL for u in table.utterances):
        rows = list(table.utterances)
    elif name != HELDOUT:
        rows = table.select(name)
    elif not c.holdout:
        raise ValueError("data.holdout is empty, so no utterances were held out.")
    else:
        rows = [u for u in _train_split(table, c) if u.fold in c.holdout]
    scored = [u for u in rows if not tables.without_majority(u)]
    if not scored:
        raise ValueError(
            f"{table.folder}: no utterance of {name!r} has an emotion: raters agreed on"
            " none, and nothing can be scored there. Name another split; without one to"
            " choose the epoch by, data.dev_split is empty."
        )
    return scored


def _train_split(table: Table, c: Data) -> list[Utterance]:
    rows = table.select(c.train_split)
    folds = sorted({u.fold for u in rows if u.fold is not None})
    for fold in c.holdout:
        if fold not in folds:
            raise ValueError(
                f"data.holdout: no fold {fold} in {table.folder}; it has {folds}."
                " jser prepare --folds makes them."
            )
    return rows


def open_corpus(
    roots: Roots, c: Data, *, speed: float = 0.0, table: Table | None = None
) -> Corpus:
    """Opens the table and the features that an experiment reads.

    Args:
      roots: Where they lie.
      c: Which corpus and streams.
      speed: Up to which share training stretches speech (`Augment.speed`).
      table: Another one in place of the experiment's, as its features.

    Raises:
      FileNotFoundError: if the table or features are not there.
      ValueError: if they are damaged or do not fit each other.
    """
    corpus = table.folder.resolve().name if table else c.corpus
    table = table or tables.read(roots.data / c.corpus)
    streams = store.open_streams(roots.features, corpus, c.streams, c.longest_s)
    length = {
        s: np.ceil(f.length / (1 - speed if f.spec["kind"] == "speech" else 1))
        for s, f in streams.items()
    }
    buckets = LengthBuckets.of(length, c.length_buckets)
    return Corpus(table, streams, buckets, c)
