"""What the sound files of a table hold: duration, digest, and what is odd."""

from collections import defaultdict
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib

from tqdm import tqdm

from jser import audio, files
from jser.corpora import problems
from jser.corpora.tables import Fault, Table
from jser.corpora.utterances import Utterance

_EMPTY = hashlib.sha256(b"").hexdigest()[:16]  # The digest of a file of 0 bytes.


def probe(table: Table) -> tuple[Table, list[Fault]]:
    """Reads every sound file once.

    Returns:
      The table with durations, digests and notes, and what its user should know: the
      files that `jser extract` will count as failures, whose duration is empty where
      their header cannot be read, and those that are silent, clipped or cancelled.

    Raises:
      ValueError: if files are missing, or if two utterances are the same recording.
    """
    if not any(u.file for u in table.utterances):
        return table, []  # Of features of one's own, or of text alone.
    paths = [table.audio_path(u) for u in table.utterances]
    pairs = zip(table.utterances, paths, strict=True)
    if missing := [u for u, path in pairs if not path.is_file()]:
        what = f"{len(missing)} of {len(paths)} sound files are missing"
        remedy = (
            "Fetch them, say by --audio_root where they are, or leave them out by"
            " --skip_missing."
        )
        where = os.path.normpath(table.folder / table.audio_root)
        problems.refuse([Fault(what, missing, remedy)], where, table.folder)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        read = tqdm(
            pool.map(_probe, table.utterances, paths),
            total=len(paths),
            desc="reading sound files",
            unit="file",
        )
        rows, failed = zip(*read, strict=True)
    # Equal files that hold no sound, such as a saved error page, are no recording.
    sounds = [u for u, fails in zip(rows, failed, strict=True) if not fails]
    problems.refuse(_same_recordings(sounds), table.folder, table.folder)
    table = dataclasses.replace(table, utterances=rows)
    return table, [*_unreadable(rows, failed), *_odd(rows)]


def _probe(u: Utterance, path: pathlib.Path) -> tuple[Utterance, bool]:
    """The utterance with what is known of its sound, and whether it cannot be read."""
    try:
        seconds, notes = audio.examine(path)
        fails = False
    except audio.AudioError:
        seconds, notes, fails = audio.seconds(path), (), True
    known = {"seconds": seconds, "sha256": files.file_digest(path)}
    return dataclasses.replace(u, **known, sound_note=", ".join(notes)), fails


def _same_recordings(rows: Sequence[Utterance]) -> list[Fault]:
    same = defaultdict(list)
    for u in rows:
        same[u.sha256].append(u)
    bad = [us for us in same.values() if len({(u.split, u.fold) for u in us}) > 1]
    what = f"{len(bad)} times the same recording on two sides of a split"
    rows = [u for us in bad for u in us]
    return [Fault(what, rows, "Keep one of each.")] if bad else []


def _unreadable(rows: Sequence[Utterance], failed: Sequence[bool]) -> list[Fault]:
    """The sound files that `jser extract` will count as failures."""
    unread = [u for u, fails in zip(rows, failed, strict=True) if fails]
    empty = [u for u in unread if u.sha256 == _EMPTY]
    headless = [u for u in unread if u.seconds is None and u.sha256 != _EMPTY]
    broken = [u for u in unread if u.seconds is not None]
    found = (
        (f"{len(empty)} sound files are empty, of 0 bytes", empty),
        (f"{len(headless)} sound files have a header that cannot be read", headless),
        (f"{len(broken)} sound files cannot be decoded to their end", broken),
    )
    remedy = "Fetch them again; jser extract counts them as failures."
    return [Fault(what, rows, remedy) for what, rows in found if rows]


def _odd(rows: Sequence[Utterance]) -> list[Fault]:
    """The sounds with notes, by note."""
    by_note = defaultdict(list)
    for u in rows:
        for note in filter(None, u.sound_note.split(", ")):
            by_note[note].append(u)
    remedy = "They stay; the column sound_note marks them."
    return [
        Fault(f"{len(odd)} sounds are marked {note!r}", odd, remedy)
        for note, odd in sorted(by_note.items())
    ]
