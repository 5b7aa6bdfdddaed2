"""Utterances of a split joined with their frames, by utt_id."""

from collections.abc import Mapping, Sequence
import dataclasses

from absl import logging
import numpy as np

from jser.corpora import tables
from jser.corpora.tables import Table, Utterance
from jser.features import store
from jser.features.store import FeatureSet


@dataclasses.dataclass(frozen=True)
class Split:
    """Utterances with the frames of all their streams, joined by utt_id."""

    utterances: list[Utterance]
    streams: Mapping[str, FeatureSet]
    label: np.ndarray  # Int, N; -1 where the label is held back.
    record: Mapping[str, np.ndarray]  # Int, N; each stream's record of utterance i.
    length: Mapping[str, np.ndarray]  # Int, N; its frames.

    def __len__(self) -> int:
        return len(self.utterances)

    def target(self, labels: Sequence[str], *, soft: bool = False) -> np.ndarray:
        """Float32 [N, C]: one-hot labels, zeros where they are held back.

        With `soft`, the shares of the annotators' votes, where there are any.
        """
        target_NC = (self.label[:, None] == np.arange(len(labels))).astype(np.float32)
        if soft:
            for row, utterance in zip(target_NC, self.utterances, strict=True):
                votes = tables.votes(utterance)
                if total := sum(votes.values()):
                    row[:] = [votes.get(name, 0.0) / total for name in labels]
        return target_NC

    def read(self, rows: np.ndarray) -> dict[str, list[np.ndarray]]:
        """The frames of these utterances, per stream."""
        return {s: f.read(self.record[s][rows]) for s, f in self.streams.items()}

    @classmethod
    def join(
        cls, table: Table, rows: Sequence[Utterance], streams: Mapping[str, FeatureSet]
    ) -> "Split":
        """Joins utterances with their frames.

        Utterances that a front end could not encode are left out, counted in the log;
        they stand in its `failures.csv`.

        Raises:
          ValueError: if an utterance has no frames, or frames made from another input.
        """
        failed = {
            u.utt_id for u in rows for f in streams.values() if u.utt_id in f.failures
        }
        if failed:
            logging.warning("%d utterances left out: see failures.csv", len(failed))
        rows = [u for u in rows if u.utt_id not in failed]
        for features in streams.values():
            store.refuse_other_inputs(table, rows, features)
        index = {name: i for i, name in enumerate(table.labels)}
        record = {
            s: np.array([f.record[u.utt_id] for u in rows], int)
            for s, f in streams.items()
        }
        return cls(
            utterances=list(rows),
            streams=streams,
            label=np.array([index.get(u.emotion, -1) for u in rows], np.int32),
            record=record,
            length={s: f.length[record[s]] for s, f in streams.items()},
        )
