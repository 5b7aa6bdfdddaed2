"""What an importer hands over, before splits, durations and checks."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import os
import pathlib

from absl import logging

from jser import containers
from jser.corpora.utterances import Utterance

NO_VOTE = ", and no vote for an emotion"  # Added to why a clip is left out.


@dataclasses.dataclass(kw_only=True)
class Draft:
    """The rows of a corpus and where its sounds lie.

    Rows need `utt_id`, `file` and, outside test splits, `emotion` or what raters said;
    what the corpus does not say stays empty.
    """

    rows: list[Utterance]
    audio_root: pathlib.Path
    labels: tuple[str, ...] = ()  # Empty: the emotions found, in canonical order.
    excluded: Counter[str] = dataclasses.field(default_factory=Counter)
    source: str = ""  # Empty: the importer's name.
    command: str = ""  # What prepared it before, if it was.
    allow_shared_speakers: bool = False  # Its own splits share them.


def sound_files(root: pathlib.Path) -> list[pathlib.Path]:
    """All sound files below `root`, sorted; the log says what was passed over.

    Links are followed, but not in circles. Hidden files and folders are passed over,
    as is `__MACOSX`, which a Mac adds to an archive.

    Raises:
      ValueError: if there is none.
    """
    paths, others = [], Counter()
    for path in _files(root, others):
        if path.suffix.lower() in SUFFIXES:
            paths.append(path)
        else:
            others[path.suffix.lower() or "without an ending"] += 1
    passed = ", ".join(f"{n} {what}" for what, n in sorted(others.items()))
    if not paths:
        raise ValueError(
            f"{root}: no sound files ({', '.join(sorted(SUFFIXES))}); it has"
            f" {passed or 'nothing'}."
        )
    if passed:
        logging.warning("%s: passed over: %s.", root, passed)
    return sorted(paths)


def is_hidden(path: pathlib.Path) -> bool:
    """Whether a file or folder is none of the corpus's, by its name."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def _files(
    folder: pathlib.Path, others: Counter[str], above: tuple[str, ...] = ()
) -> Iterator[pathlib.Path]:
    """Every file below `folder`, which lies in the real folders `above`."""
    here = os.path.realpath(folder)
    if here in above:
        others["links in a circle"] += 1
        return
    for path in folder.iterdir():
        if is_hidden(path):
            others["hidden"] += 1
        elif path.is_dir():
            yield from _files(path, others, (*above, here))
        else:
            yield path


SUFFIXES = containers.SUFFIXES | {
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".au")
}
