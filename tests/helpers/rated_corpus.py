"""What simulated raters of known skill and bias say where the truth is known."""

from collections import Counter
from collections.abc import Mapping
import csv
import dataclasses
import pathlib
import shutil
from typing import Any

import numpy as np

from jser.corpora import prepare, tables
from jser.corpora.ratings import Rating, text
from jser.corpora.utterances import ATTRIBUTES
from jser.roots import Roots


@dataclasses.dataclass(frozen=True)
class Rater:
    """One who hears the truth with probability `skill`, and else has a habit."""

    skill: float
    favourite: str  # What half of the misses are; the others are the neighbour's.


RATERS = (
    *(Rater(0.85, "neutral"), Rater(0.7, "sad"), Rater(0.6, "neutral")),
    *(Rater(0.75, "angry"), Rater(0.5, "neutral")),
)
SECOND = 0.4  # How often a rater names the neighbour besides.
# Arousal, valence and dominance as these emotions have them on average.
CIRCLE = {
    "angry": (6.0, 2.0, 6.0),
    "sad": (2.0, 2.0, 2.5),
    "happy": (5.5, 6.0, 5.0),
    "surprise": (5.5, 4.5, 4.0),
    "fear": (5.0, 2.5, 2.0),
    "disgust": (4.0, 2.0, 4.5),
    "contempt": (3.5, 2.5, 5.5),
    "neutral": (3.0, 4.0, 4.0),
}


def neighbour(emotion: str, labels: tuple[str, ...]) -> str:
    """What an emotion is taken for: the next of the label set."""
    return labels[(labels.index(emotion) + 1) % len(labels)]


def truth(emotion: str, labels: tuple[str, ...]) -> np.ndarray:
    """The expected shares of the primary votes, [C]."""
    p = np.zeros(len(labels))
    for r in RATERS:
        p[labels.index(emotion)] += r.skill
        p[labels.index(r.favourite)] += (1 - r.skill) / 2
        p[labels.index(neighbour(emotion, labels))] += (1 - r.skill) / 2
    return p / len(RATERS)


def said(emotion: str, labels: tuple[str, ...], rng: np.random.Generator):
    """What each rater says of an utterance of that emotion."""
    found = []
    for r in RATERS:
        beside = neighbour(emotion, labels)
        primary = emotion
        if rng.random() > r.skill:
            primary = r.favourite if rng.random() < 0.5 else beside
        second = (beside,) if rng.random() < SECOND and beside != primary else ()
        found.append(Rating(primary, second))
    return found


def majority(ratings: list[Rating]) -> str:
    """The emotion that most raters named first; empty if two have as many."""
    (first, most), *rest = Counter(r.primary for r in ratings).most_common(2)
    return "" if rest and rest[0][1] == most else first


def rated(
    table: tables.Table,
    folder: pathlib.Path,
    *,
    seed: int = 0,
    kept: Mapping[str, float] | None = None,
) -> pathlib.Path:
    """Writes a CSV of the table's utterances as the raters have them.

    Args:
      table: Whose emotions are the truth; dev and test keep them as their labels.
      folder: Of the CSV.
      seed: Of the raters.
      kept: Share of the training utterances of an emotion that stay; else all.
    """
    rng, rows = np.random.default_rng(seed), []
    for u in table.utterances:
        share = (kept or {}).get(u.emotion, 1.0)
        if u.split == "train" and rng.random() >= share:
            continue
        ratings = said(u.emotion, table.labels, rng)
        label = majority(ratings) if u.split == "train" else u.emotion
        circle = np.array(CIRCLE[u.emotion]) + 0.5 * rng.standard_normal(3)
        rows.append(
            {
                **{k: getattr(u, k) for k in ("utt_id", "speaker", "split")},
                "gender": ("male", "female")[ord(u.speaker[-1]) % 2],
                "file": str(table.audio_path(u).resolve().relative_to("/")),
                "emotion": label,
                "fold": "" if u.fold is None else u.fold,
                "transcript": u.transcript,
                "ratings": text(ratings),
                **dict(zip(ATTRIBUTES, circle.round(2), strict=True)),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rated.csv"
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def prepared(roots: Roots, corpus: str, home: pathlib.Path, **options: Any) -> Roots:
    """A table "rated" of a corpus, with the features that the corpus has.

    The roots lie below `home`; options are those of `rated`.
    """
    table = tables.read(roots.data / corpus)
    made = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    source = rated(table, home, **options)
    prepare.prepare("csv", source, made.data / "rated", audio_root=pathlib.Path("/"))
    shutil.copytree(roots.features / corpus, made.features / "rated")
    return made
