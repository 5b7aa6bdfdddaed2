"""Targets: what is known of utterances, for the tasks that a run learns.

A target is a row of columns, task after task in the order of `columns`: a distribution
over the emotions, and of each further task its values, NaN where they are not known.
"""

from collections.abc import Sequence
import dataclasses

from absl import logging
from jaxtyping import Float
import numpy as np

from jser.config import Experiment, Loss, Tasks
from jser.corpora import ratings, tables
from jser.corpora.utterances import ATTRIBUTES, Utterance
from jser.data.split import Split

EMOTION, SECONDARY, GENDER = "emotion", "secondary", "gender"
OF_ATTRIBUTES = "attributes"
_GENDERS = {"female": 1.0, "f": 1.0, "male": 0.0, "m": 0.0}
_SCALE = (1, 7)  # Of the attributes.
_VOTES = 4  # Stream of random numbers; others are the batches' and `speech_changes`'.


def columns(tasks: Tasks, classes: int) -> dict[str, slice]:
    """Where the columns of each task lie that is learned; the emotion always is first.

    Args:
      tasks: Weights; a task of weight 0 has no columns.
      classes: C. Emotions and secondary emotions have a column each.
    """
    sizes = {EMOTION: classes}
    for name, size in (
        (OF_ATTRIBUTES, len(ATTRIBUTES)),
        (SECONDARY, classes),
        (GENDER, 1),
    ):
        if getattr(tasks, name):
            sizes[name] = size
    ends = np.cumsum(list(sizes.values())).tolist()
    return {
        name: slice(end - size, end)
        for (name, size), end in zip(sizes.items(), ends, strict=True)
    }


def of(split: Split, labels: Sequence[str], c: Experiment) -> Float[np.ndarray, "N K"]:
    """The targets of all utterances of a split.

    Raises:
      ValueError: if of no utterance is known what a task asks for.
    """
    parts = {EMOTION: emotions(split, labels, c.loss)}
    if c.tasks.attributes:
        parts[OF_ATTRIBUTES] = attributes(split.utterances)
    if c.tasks.secondary:
        parts[SECONDARY] = secondary(split.utterances, labels)
    if c.tasks.gender:
        parts[GENDER] = genders(split.utterances)
    for task, values in parts.items():
        if np.isnan(values).all():
            raise ValueError(
                f"tasks.{task}: not known of any utterance of {c.data.train_split!r}."
                " Set it to 0, or prepare a table that has it: docs/table.md."
            )
    if c.tasks.attributes:
        _warn_off_scale(split.utterances)
    return np.concatenate([parts[task] for task in columns(c.tasks, len(labels))], 1)


def emotions(
    split: Split, labels: Sequence[str], loss: Loss
) -> Float[np.ndarray, "N C"]:
    """One-hot labels, or with `loss.soft_labels` the shares of the annotators' votes.

    Where there are no votes the label stays.
    """
    target_NC = split.target(labels)
    if loss.soft_labels:
        for row, utterance in zip(target_NC, split.utterances, strict=True):
            said_RC = raters(utterance, labels, mentions=loss.mentions)
            if total := said_RC.sum():
                row[:] = said_RC.sum(axis=0) / total
    return target_NC


def raters(
    utterance: Utterance, labels: Sequence[str], *, mentions: bool
) -> Float[np.ndarray, "R C"]:
    """What each rater said, counted; [0, C] where nobody's votes are known.

    Of two published definitions of a soft target it is the sum, divided by its total:
    of primary emotions alone, or, with `mentions`, of primary and secondary ones alike
    (MSP-Podcast keeps both, and systems of the challenge of 2025 differ in it).
    Where only sums of votes are known each vote is a rater's.
    """
    index = {name: i for i, name in enumerate(labels)}
    rows: list[list[str]] = []
    for rating in ratings.parse(utterance):
        primary = [rating.primary] if rating.primary else []
        rows.append([*primary, *(rating.secondary if mentions else ())])
    if rows:
        said_RC = np.zeros((len(rows), len(labels)), np.float32)
        for row, names in zip(said_RC, rows, strict=True):
            for name in names:
                row[index[name]] += 1
        return said_RC[said_RC.sum(axis=1) > 0]
    said_RC = np.zeros((0, len(labels)), np.float32)
    for name, number in tables.votes(utterance).items():
        whole = max(1, int(number)) if float(number).is_integer() else 1
        if number:
            votes_RC = np.zeros((whole, len(labels)), np.float32)
            votes_RC[:, index[name]] = number / whole
            said_RC = np.concatenate([said_RC, votes_RC])
    return said_RC


def attributes(utterances: Sequence[Utterance]) -> Float[np.ndarray, "N 3"]:
    """Arousal, valence and dominance as the table has them; NaN where it does not."""
    known = [[getattr(u, name) for name in ATTRIBUTES] for u in utterances]
    return np.array(known, np.float32).reshape(-1, len(ATTRIBUTES))


def _warn_off_scale(utterances: Sequence[Utterance]) -> None:
    low, high = _SCALE
    values = attributes(utterances)
    off = np.flatnonzero(((values < low) | (values > high)).any(axis=1))
    if len(off):
        logging.warning(
            "tasks.attributes: of %d utterances, e.g. %r, an attribute is not from %d"
            " to %d, and no network can say so. Scale them before jser prepare.",
            *(len(off), utterances[off[0]].utt_id, low, high),
        )


def genders(utterances: Sequence[Utterance]) -> Float[np.ndarray, "N 1"]:
    """1 for female, 0 for male, else NaN; the log names spellings it does not know."""
    words = [u.gender.lower() for u in utterances]
    if odd := sorted({word for word in words if word and word not in _GENDERS}):
        logging.warning(
            "tasks.gender: %s: not learned; known are %s.",
            ", ".join(map(repr, odd[:5])),
            ", ".join(_GENDERS),
        )
    return np.array([[_GENDERS.get(word, np.nan)] for word in words], np.float32)


def secondary(
    utterances: Sequence[Utterance], labels: Sequence[str]
) -> Float[np.ndarray, "N C"]:
    """The share of raters who heard an emotion besides another; NaN without ratings."""
    shares_NC = np.full((len(utterances), len(labels)), np.nan, np.float32)
    for row, utterance in zip(shares_NC, utterances, strict=True):
        if said := ratings.parse(utterance):
            named = [name for rating in said for name in set(rating.secondary)]
            row[:] = [named.count(name) / len(said) for name in labels]
    return shares_NC


@dataclasses.dataclass(frozen=True)
class AnnotatorDropout:
    """Leaves out some raters, anew in every step, so that targets vary as raters do.

    Each is left out by chance, at least one stays (SAILER, Interspeech 2025, 20 %).

    Attributes:
      share: Of the raters that are left out.
      said: What each rater of an utterance said, [R, C] by utterance.
      seed: Of the run.
    """

    share: float
    said: Sequence[np.ndarray]
    seed: int

    @classmethod
    def of(
        cls, split: Split, labels: Sequence[str], c: Experiment
    ) -> "AnnotatorDropout | None":
        """That of an experiment; None where all raters count."""
        if not c.augment.annotators:
            return None
        said = [raters(u, labels, mentions=c.loss.mentions) for u in split.utterances]
        if max(map(len, said), default=0) < 2:
            raise ValueError(
                f"augment.annotators: no utterance of {c.data.train_split!r} has two"
                " raters. Set it to 0, or prepare a table with votes: docs/table.md."
            )
        return cls(c.augment.annotators, said, c.seed)

    def __call__(
        self, index: int, rows: np.ndarray, places: np.ndarray, target_BK: np.ndarray
    ) -> np.ndarray:
        """The targets of some places of a batch, by the raters who stay.

        Args:
          index: Of the batch.
          rows: Utterances of all its places, by their number in the split.
          places: Those asked for; others change nothing of them.
          target_BK: Their targets, by all raters.
        """
        rng = np.random.default_rng((self.seed, _VOTES, index))
        most = max(len(said) for said in self.said)
        luck = rng.random((len(rows), most))
        changed = target_BK.copy()
        for target, place in zip(changed, places, strict=True):
            said_RC = self.said[int(rows[place])]
            stays = luck[place, : len(said_RC)] >= self.share
            kept_C = said_RC[stays].sum(axis=0)
            if total := kept_C.sum():
                target[: len(kept_C)] = kept_C / total
        return changed
