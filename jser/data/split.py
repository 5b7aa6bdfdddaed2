"""Utterances of a split joined with their frames, by utt_id."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

from absl import logging
import numpy as np

from jser.config_rules import SPEAKER
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.data import speakers
from jser.data.speakers import Scaling
from jser.features import store
from jser.features.store import FeatureSet


@dataclasses.dataclass(frozen=True)
class Split:
    """Utterances with the frames of all their streams, joined by utt_id."""

    utterances: list[Utterance]
    streams: Mapping[str, FeatureSet]
    label: np.ndarray  # Int, N; -1 where it is held back or none.
    record: Mapping[str, np.ndarray]  # Int, N; each stream's record of utterance i.
    length: Mapping[str, np.ndarray]  # Int, N; its frames.
    adapted: tuple[str, ...] = ()  # Streams scaled by each speaker's statistics here.

    def __len__(self) -> int:
        return len(self.utterances)

    def target(self, labels: Sequence[str]) -> np.ndarray:
        """Float32 [N, C]: one-hot labels, zeros where they are held back."""
        return (self.label[:, None] == np.arange(len(labels))).astype(np.float32)

    def read(self, rows: np.ndarray) -> dict[str, list[np.ndarray]]:
        """The frames of these utterances, per stream."""
        stored = {s: f.read(self.record[s][rows]) for s, f in self.streams.items()}
        return self.scaled(rows, stored)

    def filled(self, batch: Any) -> Any:
        """A batch that lies on the devices, with its frames; they were sent with it."""
        return batch

    def scaled(
        self, rows: np.ndarray, stored: dict[str, list[np.ndarray]]
    ) -> dict[str, list[np.ndarray]]:
        """What `read` gives of these utterances, of their frames as they are stored."""
        who = [self.utterances[i].speaker for i in rows]
        return stored | {
            s: [by[speaker](x) for speaker, x in zip(who, stored[s], strict=True)]
            for s, by in self._scalings.items()
        }

    @functools.cached_property  # Reads all frames, once, and only if some are read.
    def _scalings(self) -> dict[str, dict[str, Scaling]]:
        who = [u.speaker for u in self.utterances]
        return {
            s: speakers.scalings(self.streams[s], self.record[s], who)
            for s in self.adapted
        }

    @classmethod
    def join(
        cls,
        table: Table,
        rows: Sequence[Utterance],
        streams: Mapping[str, FeatureSet],
        adapted: tuple[str, ...] = (),
    ) -> "Split":
        """Joins utterances with their frames.

        Utterances that a front end could not encode are left out, counted in the log;
        they stand in its `failures.csv`.

        Args:
          table: That the utterances are of.
          rows: The utterances.
          streams: Their features.
          adapted: Streams scaled, column by column, by the mean and standard deviation
            of all frames that the utterance's speaker has in these rows.

        Raises:
          ValueError: if an utterance has no frames, or frames made from another input;
            if it has no speaker, and frames are scaled by theirs.
        """
        if adapted:
            _refuse_unknown_speakers(table, rows)
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
            adapted=adapted,
        )


def _refuse_unknown_speakers(table: Table, rows: Sequence[Utterance]) -> None:
    unknown = [u.utt_id for u in rows if not u.speaker]
    if unknown:
        raise ValueError(
            f"data.adapt: {SPEAKER!r} needs every utterance's speaker, and"
            f" {len(unknown)} of {table.folder}, e.g. {unknown[0]!r}, have none. Fill"
            " in the column speaker, or train with --config.data.adapt=none."
        )
