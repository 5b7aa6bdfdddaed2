"""A row of the table, and how it is read from text. See docs/table.md."""

from collections.abc import Callable
import dataclasses
import math

ATTRIBUTES = ("arousal", "valence", "dominance")  # Columns; from 1 to 7 in MSP-Podcast.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utterance:
    """One row. An empty string or None means: not known."""

    utt_id: str
    file: str  # Relative to the table's audio root, "/" between its parts.
    emotion: str = ""  # Empty if held back in a test split, or without a majority.
    speaker: str = ""
    gender: str = ""
    split: str = ""
    fold: int | None = None  # Cross-validation fold; rows of one speaker share it.
    transcript: str = ""
    transcript_source: str = ""
    transcript_language: str = ""  # Code, of transcripts that a machine made,
    transcript_note: str = ""  # and what is suspicious about them.
    seconds: float | None = None
    sound_note: str = ""  # "silent", "clipped", "channels cancel"; see audio.examine.
    sha256: str = ""  # First 16 hex digits of the digest of the sound file's bytes.
    arousal: float | None = None
    valence: float | None = None
    dominance: float | None = None
    votes: str = ""  # Annotators' votes, "angry:3 neutral:2".
    ratings: str = ""  # What each said, "angry+sad neutral"; see ratings.py.


COLUMNS = tuple(f.name for f in dataclasses.fields(Utterance))


def parse(row: dict[str, str], where: str) -> Utterance:
    """An utterance from text cells; columns that are not ours are left out.

    A fold may be written as pandas does, "0.0".

    Raises:
      ValueError: if a number is none, naming the file, utterance and column.
    """
    cells: dict[str, object] = {k: v for k, v in row.items() if k in COLUMNS}
    for name, (read, what) in _NUMBERS.items():
        text = row.get(name, "")
        try:
            cells[name] = read(text) if text else None
        except ValueError as e:
            who = row.get("utt_id") or row.get("file")
            raise ValueError(f"{where}: {who}: {name} is {text!r}, {what}.") from e
    return Utterance(**cells)  # pyright: ignore[reportArgumentType]


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _whole(text: str) -> int:
    if not (number := _finite(text)).is_integer():
        raise ValueError(text)
    return int(number)


_NUMBERS: dict[str, tuple[Callable[[str], float], str]] = {
    **dict.fromkeys(("seconds", *ATTRIBUTES), (_finite, "no number")),
    "fold": (_whole, "no whole number"),
}
