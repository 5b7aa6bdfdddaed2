"""A member's logits on disk: what prediction writes and stacking reads. No JAX here."""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import pathlib
from typing import Any

import numpy as np

from jser import archives, files
from jser.config_rules import NONE, TARGET
from jser.corpora.utterances import ATTRIBUTES

SCHEMA = 3


class OutdatedError(ValueError):
    """Logits of an older version of jser, which has to predict again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Logits:
    """What one member says of some utterances, in the order of their ids."""

    utt_id: np.ndarray  # Str, N.
    logits: np.ndarray  # Float32, N C.
    label: np.ndarray  # Int, N; -1 where held back.
    fold: np.ndarray  # Int, N; the utterance's fold in the table, -1 for none.
    speaker: np.ndarray  # Str, N.
    in_sample: np.ndarray  # Bool, N; whether the member was trained on the utterance.
    speaker_seen: np.ndarray  # Bool, N; whether it was trained on the (named) speaker.
    labels: np.ndarray  # Str, C; the label set.
    made_by: np.ndarray  # Str, any number; digests of the runs behind the rows.
    system: str = ""  # Of combined logits: what combined them. Empty for a run's.
    trained_on: str = ""  # The run's table as name@fingerprint; empty where not kept.
    table: str = ""  # Of another table than the run's: its name,
    fingerprint: str = ""  # its digest,
    merged: np.ndarray = dataclasses.field(  # and "one=other" of its emotions, if any.
        default_factory=lambda: np.array([], str)
    )
    adapt: str = NONE  # Whose unlabelled statistics scaled the frames.
    # Float32, N A: `ATTRIBUTES` as the member predicts them; A is 0 if it does not.
    attributes: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )

    def __post_init__(self):
        if self.attributes.shape[1:] == (0,):
            object.__setattr__(self, "attributes", np.zeros((len(self), 0), np.float32))

    def __len__(self) -> int:
        return len(self.utt_id)

    def take(self, rows: np.ndarray) -> "Logits":
        """Some of the rows, by number or by mask."""
        columns = {c: getattr(self, c)[rows] for c in (*_PER_ROW, "attributes")}
        return dataclasses.replace(self, **columns)

    def occurring(self) -> tuple[str, ...]:
        """The labels of the utterances that a score can be of, in the order of all."""
        can = self.take((self.label >= 0) & ~self.in_sample)
        return tuple(self.labels[np.unique(can.label)].tolist())

    def among(self, labels: Sequence[str]) -> "Logits":
        """What can be scored on another table than the run's, among some of its labels.

        Utterances without one of them, and those the run was trained on, are left out;
        the other labels cannot be predicted.
        """
        columns = np.flatnonzero(np.isin(self.labels, labels))
        rows = np.isin(self.label, columns) & ~self.in_sample
        return dataclasses.replace(
            self.take(rows),
            logits=self.logits[rows][:, columns],
            label=np.searchsorted(columns, self.label[rows]),
            labels=self.labels[columns],
        )

    def save(self, path: pathlib.Path) -> None:
        """Writes the rows, sorted by utt_id, whole or not at all.

        Raises:
          ValueError: if they hold a number that is not finite.
        """
        self._refuse_non_finite(path, "Nothing was written.")
        ordered = self.take(np.argsort(self.utt_id))
        out = io.BytesIO()
        columns = {k: np.asarray(v) for k, v in dataclasses.asdict(ordered).items()}
        about = {"schema": np.array(SCHEMA), "content": np.array(_digest(columns))}
        np.savez(out, allow_pickle=False, **about, **columns)
        files.write_atomically(path, out.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path) -> "Logits":
        """Reads logits that `Logits.save` wrote.

        Raises:
          FileNotFoundError: if they are not there.
          OutdatedError: if they lack something that is kept today.
          ValueError: if the file is damaged, not ours, or of a newer version, or holds
            a number that is not finite.
        """
        if not path.exists():
            raise FileNotFoundError(f"{path}: not there; jser predict makes it.")
        with files.reading(path, "Remove it and run jser predict again."):
            columns = archives.read_npz(path)
        files.refuse_newer(path, int(columns.pop("schema", 1)), SCHEMA)
        content = columns.pop("content", None)  # Earlier versions did not keep it.
        if content is not None and str(content) != _digest(columns):
            raise ValueError(
                f"{path}: its arrays were edited. Remove it and run jser predict again."
            )
        if missing := [name for name in _FIELDS if name not in columns]:
            raise OutdatedError(
                f"{path}: an older version of jser made it, without"
                f" {', '.join(missing)}. Run jser predict again."
            )
        known: dict[str, Any] = {name: columns[name] for name in _FIELDS}
        known |= {name: str(columns[name]) for name in _TEXTS if name in columns}
        known |= {name: columns[name] for name in _ARRAYS if name in columns}
        logits = cls(**known)
        logits._refuse_other_shapes(path)
        logits._refuse_non_finite(path, "Remove it and run jser predict again.")
        return logits

    def _refuse_other_shapes(self, path: pathlib.Path) -> None:
        N, shape = len(self), (len(self), len(self.labels))
        per_row = {len(getattr(self, c)) for c in _PER_ROW}
        rated = {(N, 0), (N, len(ATTRIBUTES))}
        if (
            self.logits.shape != shape
            or per_row != {N}
            or self.attributes.shape not in rated
        ):
            raise ValueError(
                f"{path}: damaged: not {N} rows of {len(self.labels)} labels in all its"
                " arrays. Remove it and run jser predict again."
            )

    def _refuse_non_finite(self, path: pathlib.Path, remedy: str) -> None:
        for what in ("logits", "attributes"):
            odd = ~np.isfinite(getattr(self, what)).all(axis=1)
            if odd.any():
                raise ValueError(
                    f"{path}: the {what} of {odd.sum()} utterances, e.g."
                    f" {str(self.utt_id[odd][0])!r}, are not all finite. {remedy}"
                )

    @classmethod
    def concatenate(cls, parts: Sequence["Logits"]) -> "Logits":
        """The rows of all parts.

        Raises:
          ValueError: if two hold the same utterance, their label sets differ, or only
            some have attributes.
        """
        labels = parts[0].labels
        if any(not np.array_equal(p.labels, labels) for p in parts):
            raise ValueError(
                "logits of runs with different label sets do not go together."
            )
        some = [p for p in parts if len(p)] or parts[:1]
        rated = [p for p in some if p.attributes.shape[1]]
        unrated = [p for p in some if not p.attributes.shape[1]]
        if rated and unrated:
            raise ValueError(
                f"{', '.join(ATTRIBUTES)} are predicted of {str(rated[0].utt_id[0])!r}"
                f" and not of {str(unrated[0].utt_id[0])!r}: one member's trainings"
                " need the same tasks.attributes. Train those without again."
            )
        columns = (*_PER_ROW, "attributes")
        whole = {c: np.concatenate([getattr(p, c) for p in some]) for c in columns}
        ids, count = np.unique(whole["utt_id"], return_counts=True)
        if (count > 1).any():
            raise ValueError(
                f"{(count > 1).sum()} utterances twice, e.g."
                f" {str(ids[count > 1][0])!r}."
            )
        made_by = np.concatenate([p.made_by for p in parts])
        merged = dataclasses.replace(parts[0], **whole, made_by=made_by, system="")
        return merged.take(np.argsort(merged.utt_id))


def _digest(columns: Mapping[str, np.ndarray]) -> str:
    parts = [f"{name} {x.dtype} {x.shape}" for name, x in sorted(columns.items())]
    return files.digest(*parts, *(x.tobytes() for _, x in sorted(columns.items())))


_PER_ROW = (
    *("utt_id", "logits", "label", "fold", "speaker", "in_sample", "speaker_seen"),
)
_FIELDS = (*_PER_ROW, "labels", "made_by")
# Schema 1 has none of these but `system`, and its earliest files not even that; schema
# 2 has no `attributes`.
_TEXTS = ("system", "trained_on", "table", "fingerprint", "adapt")
_ARRAYS = ("merged", "attributes")


def path_of(
    workdir: pathlib.Path, split: str, *, table: str = "", adapt: str = NONE
) -> pathlib.Path:
    """Where a run's logits lie: of another table in a folder of its name.

    Those by the target's statistics lie beside those without.
    """
    name = f"{split}+{TARGET}.npz" if adapt == TARGET else f"{split}.npz"
    return workdir / "logits" / table / name


def splits_of(
    workdir: pathlib.Path, *, table: str = "", adapt: str = NONE
) -> list[str]:
    """The splits that a run has predicted so, as `path_of` names them."""
    stems = sorted(p.stem for p in (workdir / "logits" / table).glob("*.npz"))
    by_target = f"+{TARGET}"
    return [
        stem.removesuffix(by_target)
        for stem in stems
        if stem.endswith(by_target) == (adapt == TARGET)
    ]
