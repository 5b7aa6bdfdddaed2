"""What each rater said of an utterance: the column `ratings` of the table.

A token a rater, the primary emotion first, secondary ones after it, joined by "+":
"angry+sad neutral". "+sad" is a rater whose primary emotion has no class here and who
heard sadness besides. Raters are not named.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import dataclasses

from absl import logging

from jser import emotions
from jser.corpora.utterances import Utterance

FORMAT = (
    "Ratings read 'angry+sad neutral', a rater each, the primary emotion first, all of"
    " the label set and each once; '+sad' is of no primary emotion."
)


@dataclasses.dataclass(frozen=True)
class Rating:
    """What one rater said."""

    primary: str  # Empty if it is none of the label set.
    secondary: tuple[str, ...]


def parse(utterance: Utterance) -> list[Rating]:
    """What each rater said; empty if it is not known.

    Raises:
      ValueError: if it cannot be read, or a rater names an emotion twice, naming the
        utterance.
    """
    found = []
    for token in utterance.ratings.split():
        primary, *secondary = token.split("+")
        said = [primary, *secondary] if primary else secondary
        if not said or "" in said or len(set(said)) < len(said):
            raise ValueError(f"{utterance.utt_id}: bad ratings {token!r}. {FORMAT}")
        found.append(Rating(primary, tuple(secondary)))
    return found


def text(ratings: Iterable[Rating]) -> str:
    """The ratings as the column has them; what `parse` reads."""
    return " ".join("+".join((r.primary, *r.secondary)) for r in ratings)


def primary_votes(ratings: Iterable[Rating], labels: Sequence[str]) -> str:
    """How many raters named each emotion first, as the column `votes` has it.

    The order is that of `labels`; emotions that nobody named are not there.
    """
    count = Counter(r.primary for r in ratings)
    return " ".join(f"{e}:{count[e]}" for e in labels if count[e])


def within(ratings: Iterable[Rating], labels: Iterable[str]) -> list[Rating]:
    """The ratings less what is none of `labels`; raters of nothing else are left out.

    An emotion that a rater names twice is kept once, at its first place: questionnaires
    such as MSP-Podcast's ask for the primary one again among the secondary ones.
    """
    known, found = set(labels), []
    for rating in ratings:
        primary = rating.primary if rating.primary in known else ""
        others = dict.fromkeys(e for e in rating.secondary if e in known)
        others.pop(primary, None)
        if primary or others:
            found.append(Rating(primary, tuple(others)))
    return found


def merged(utterance: Utterance, merge: Mapping[str, str], keep: Iterable[str]) -> str:
    """The column with emotions counted as others, and of these what is in `keep`."""
    found = [
        Rating(
            merge.get(r.primary, r.primary), tuple(merge.get(e, e) for e in r.secondary)
        )
        for r in parse(utterance)
    ]
    return text(within(found, keep))


def add(
    rows: Sequence[Utterance], said: Mapping[str, Sequence[Rating]], source: object
) -> list[Utterance]:
    """The rows with votes and ratings, for the emotions that one of them has.

    Args:
      rows: The utterances.
      said: What raters said of them, by `utt_id`.
      source: Named in the log, which counts the words that are left out.
    """
    labels = emotions.label_set(u.emotion for u in rows if u.emotion)
    words = (e for heard in said.values() for r in heard for e in named(r))
    if others := Counter(word for word in words if word not in labels):
        some = ", ".join(repr(word) for word, _ in others.most_common(3))
        logging.info("%s: %d votes left out, as %s.", source, others.total(), some)
    found = []
    for u in rows:
        heard = within(said.get(u.utt_id, ()), labels)
        votes = primary_votes(heard, labels)
        found.append(dataclasses.replace(u, votes=votes, ratings=text(heard)))
    return found


def named(rating: Rating) -> tuple[str, ...]:
    """The emotions that a rater named, the primary one first."""
    return tuple(e for e in (rating.primary, *rating.secondary) if e)
