"""What an importer hands over, before splits, durations and checks."""

from collections import Counter
import dataclasses
import pathlib

from jser.corpora.tables import Utterance


@dataclasses.dataclass(kw_only=True)
class Draft:
    """The rows of a corpus and where its sounds lie.

    Rows need `utt_id`, `file` and, outside test splits, `emotion`; what the corpus
    does not say stays empty.
    """

    rows: list[Utterance]
    audio_root: pathlib.Path
    labels: tuple[str, ...] = ()  # Empty: the emotions found, in canonical order.
    excluded: Counter[str] = dataclasses.field(default_factory=Counter)
    source: str = ""  # Empty: the importer's name.
    split_policy: str = "given"


def sound_files(root: pathlib.Path) -> list[pathlib.Path]:
    """All sound files below `root`, sorted.

    Raises:
      ValueError: if there is none.
    """
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{root}: no sound files ({', '.join(sorted(SUFFIXES))}).")
    return paths


SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".au"})
