"""The table of utterances: one row each, whatever the corpus. See docs/table.md."""

from collections import Counter, defaultdict
from collections.abc import Sequence
import csv
import dataclasses
import functools
import io
import math
import os
import pathlib
import re
from typing import Any

from jser import files
from jser.corpora import ratings
from jser.corpora.csv_rows import read_csv
from jser.corpora.utterances import COLUMNS, Utterance, parse

SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")
SCHEMA = 1  # Of table.json.
WITHOUT_SPEAKERS = ("utterances", "stratified")  # Policies that ask not who speaks.
UNDECIDED, UNLABELLED = "undecided", "unlabelled"  # Counted beside the emotions.
CROSS_VALIDATED = "cv"  # The split of every row when the folds are the protocol.


_INFO = {"labels": list, "excluded": dict} | dict.fromkeys(
    ("audio_root", "source", "split_policy", "command", "fingerprint"), str
)
# Columns a table has only where one of its rows does.
_OPTIONAL = ("transcript_language", "transcript_note", "sound_note", "ratings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A corpus: its utterances, its label set and where it came from."""

    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    audio_root: str
    source: str = ""  # The importer.
    split_policy: str = "given"
    allow_shared_speakers: bool = False  # Between splits or folds; then some are.
    excluded: dict[str, int] = dataclasses.field(default_factory=dict)
    command: str = ""  # What prepared it.
    folder: pathlib.Path = pathlib.Path()  # Where it was read from.

    @functools.cached_property  # Asked for by every run whose logits are read.
    def fingerprint(self) -> str:
        """Digest of every row and of the label set."""
        return files.digest(_to_csv(self.utterances), "\n".join(self.labels))

    @property
    def shares_speakers(self) -> bool:
        """Whether scores are flattered by speakers on both sides of a split."""
        return self.split_policy in WITHOUT_SPEAKERS or self.allow_shared_speakers

    def audio_path(self, utterance: Utterance) -> pathlib.Path:
        """Where the sound lies. A relative audio root starts at the table's folder."""
        root = os.path.normpath(self.folder / self.audio_root)
        return pathlib.Path(root) / utterance.file

    def select(self, split: str) -> list[Utterance]:
        """The utterances of a split, in the order of the table.

        Raises:
          ValueError: if there are none, with the splits that exist.
        """
        rows = [u for u in self.utterances if u.split == split]
        if not rows:
            have = ", ".join(sorted({u.split for u in self.utterances}))
            raise ValueError(f"{self.folder}: no split {split!r}; it has {have}.")
        return rows


def input_digest(utterance: Utterance, kind: str) -> str:
    """Digest of what a front end of `kind` ("speech" or "text") reads of an utterance.

    Labels, splits and folds are no part of it: changing them never means extracting
    again.
    """
    if kind == "speech":
        # Of channels that cancel, near silence was read before they were noted.
        cancel = "channels cancel" in utterance.sound_note
        return files.digest(utterance.sha256, "") if cancel else utterance.sha256
    return files.digest(utterance.transcript)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with some rows of a table, or with all of it."""

    what: str
    rows: Sequence[Utterance]
    remedy: str

    def __str__(self) -> str:
        some = ", ".join(repr(u.utt_id or u.file) for u in self.rows[:5])
        return f"{self.what}{', e.g. ' if some else ''}{some}. {self.remedy}".strip()


def check(table: Table, where: str) -> None:
    """Raises ValueError for the first kind of fault, naming rows and the remedy."""
    for fault in faults(table):
        raise ValueError(f"{where}: {fault}")


def faults(table: Table) -> list[Fault]:
    """All that is wrong with a table, by kind."""
    rows, found = table.utterances, []
    if not rows:
        found.append(Fault("no utterances", (), ""))
    if len(set(table.labels)) != len(table.labels) or "" in table.labels:
        found.append(Fault(f"the label set {table.labels} repeats itself", (), ""))

    def refuse(bad: Sequence[Utterance], what: str, remedy: str) -> None:
        if bad:
            found.append(Fault(f"{what}: {len(bad)}", bad, remedy))

    refuse(
        [u for u in rows if not u.utt_id],
        "utterances with an empty utt_id",
        "Give each its own.",
    )
    refuse(
        [u for u in rows if not (u.utt_id + u.file + u.speaker).isprintable()],
        "ids, files or speakers with line ends or other control characters",
        "Rename them.",
    )
    count = Counter(u.utt_id for u in rows)
    refuse(
        [u for u in rows if count[u.utt_id] > 1],
        "rows with a duplicate utt_id",
        "Ids join labels, features and logits; remove or rename the repeats.",
    )
    refuse(
        [u for u in rows if not is_inside(u.file)] if any(u.file for u in rows) else [],
        "files outside the audio root",
        "Write paths relative to the root, with '/' and without '..'.",
    )
    refuse(
        [u for u in rows if u.emotion and u.emotion not in table.labels],
        "unknown emotions",
        f"The label set is {', '.join(table.labels)}.",
    )
    refuse(
        [u for u in rows if not SPLIT_NAME.fullmatch(u.split)],
        "rows without a proper split name",
        "Name one (train, dev, test, ...) or let jser prepare --split make them.",
    )
    refuse(
        [u for u in rows if _is_bare(u) and not u.split.startswith("test")],
        "unlabelled utterances outside the test splits",
        "Label them, give them votes or ratings, or move them to a split whose name"
        " starts with 'test'.",
    )
    refuse([u for u in rows if not _votes_ok(u, table)], "bad votes", VOTES_FORMAT)
    refuse(
        [u for u in rows if not _ratings_ok(u, table)], "bad ratings", ratings.FORMAT
    )
    if not table.shares_speakers:
        found += shared_speakers(rows)
    return found


VOTES_FORMAT = "Votes read 'angry:3 neutral:2', with emotions of the label set."


def is_inside(file: str) -> bool:
    """Whether a relative path stays below its root, read as POSIX or as Windows."""
    posix, windows = pathlib.PurePosixPath(file), pathlib.PureWindowsPath(file)
    absolute = posix.is_absolute() or bool(windows.drive) or bool(windows.root)
    return bool(file) and not absolute and ".." not in windows.parts


def votes(utterance: Utterance) -> dict[str, float]:
    """The annotators' votes by emotion; empty when there are none.

    Raises:
      ValueError: if they cannot be read, or one is no number from 0 up, naming the
        utterance.
    """
    found: dict[str, float] = {}
    for pair in utterance.votes.split():
        emotion, _, number = pair.rpartition(":")
        try:
            found[emotion] = found.get(emotion, 0.0) + float(number)
        except ValueError:
            found[emotion] = math.nan
        if not 0 <= found[emotion] < math.inf:
            raise ValueError(f"{utterance.utt_id}: bad votes {pair!r}. {VOTES_FORMAT}")
    return found


def _votes_ok(u: Utterance, table: Table) -> bool:
    try:
        return all(e in table.labels for e in votes(u))
    except ValueError:
        return False


def _ratings_ok(u: Utterance, table: Table) -> bool:
    try:
        said = ratings.parse(u)
    except ValueError:
        return False
    return ratings.within(said, table.labels) == said


def without_majority(u: Utterance) -> bool:
    """Whether raters were heard and agreed on no emotion."""
    return not u.emotion and bool(u.votes or u.ratings)


def _is_bare(u: Utterance) -> bool:
    """Whether nothing is known of the emotion."""
    return not u.emotion and not without_majority(u)


def shared_speakers(rows: Sequence[Utterance]) -> list[Fault]:
    """The rows of speakers who are in more than one split, or in more than one fold."""
    found = []
    for field in ("split", "fold"):
        places = defaultdict(set)
        for u in rows:
            if u.speaker:
                places[u.speaker].add(getattr(u, field))
        if shared := {s for s, there in places.items() if len(there) > 1}:
            first = min(shared)
            there = " and ".join(sorted(map(str, places[first])))
            what = (
                f"{len(shared)} speakers are in more than one {field}, as"
                f" {first!r} in {there}"
            )
            remedy = (
                "A score there would measure how well the voice is remembered. Make"
                " disjoint splits with jser prepare --split speakers, or keep those of"
                " the corpus with --allow_shared_speakers."
            )
            bad = [u for u in rows if u.speaker in shared]
            found.append(Fault(what, sorted(bad, key=lambda u: u.speaker), remedy))
    return found


def write(table: Table, folder: pathlib.Path) -> Table:
    """Checks the table, writes `table.csv` and `table.json`; returns it as read."""
    where = str(folder / "table.csv")
    rows = tuple(map(stripped, table.utterances))
    table = dataclasses.replace(table, utterances=rows, folder=folder)
    check(table, where)
    files.write_atomically(folder / "table.csv", _to_csv(table.utterances))
    files.write_json(
        folder / "table.json",
        {
            "schema": SCHEMA,
            "source": table.source,
            "audio_root": table.audio_root,
            "labels": list(table.labels),
            "split_policy": table.split_policy,
            "allow_shared_speakers": table.allow_shared_speakers,
            "excluded": table.excluded,
            "command": table.command,
            "counts": counts(table),
            "fingerprint": table.fingerprint,
        },
    )
    return table


def stripped(u: Utterance) -> Utterance:
    """Cells without outer white space, the transcript on one line."""
    texts = {k: v for k, v in dataclasses.asdict(u).items() if isinstance(v, str)}
    clean = {k: v.strip() for k, v in texts.items()}
    clean["transcript"] = " ".join(u.transcript.split())
    return dataclasses.replace(u, **clean)


def read(folder: pathlib.Path) -> Table:
    """Reads a table that `jser prepare` wrote, and checks it again.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if a row is at fault, or if the rows are not those that were
        counted when `table.json` was written.
    """
    where = folder / "table.csv"
    if not where.exists() or not (folder / "table.json").exists():
        raise FileNotFoundError(
            f"{where}: not there. Make it with jser prepare --out {folder}."
        )
    info = read_info(folder)
    table = Table(
        utterances=tuple(read_rows(where)),
        labels=tuple(info["labels"]),
        audio_root=info["audio_root"],
        source=info["source"],
        split_policy=info["split_policy"],
        allow_shared_speakers=info.get("allow_shared_speakers", False),
        excluded=info["excluded"],
        command=info["command"],
        folder=folder,
    )
    check(table, str(where))
    if table.fingerprint != info["fingerprint"]:
        raise ValueError(
            f"{where}: its rows ({table.fingerprint}) are not those table.json was"
            f" written for ({info['fingerprint']}). If you edited it on purpose, run"
            f" jser prepare --corpus table --source {folder} --out {folder}."
        )
    return table


def read_info(folder: pathlib.Path) -> dict[str, Any]:
    """A table's `table.json`.

    Raises:
      ValueError: if it is damaged.
    """
    path, remedy = folder / "table.json", "Run jser prepare again."
    info = files.read_record(path, remedy=remedy)
    with files.reading(path, remedy):
        files.expect(info, _INFO)
        files.expect(info["excluded"], dict.fromkeys(info["excluded"], int))
        if not all(isinstance(label, str) for label in info["labels"]):
            raise TypeError("a label that is no text")
        if not info["fingerprint"].isalnum():
            raise ValueError("its fingerprint is none")
    return info


def counts(table: Table) -> dict[str, dict[str, int]]:
    """Utterances per split and emotion, in the order of the label set.

    Those without one come last, where there are any: "undecided", without a
    majority, and "unlabelled".
    """
    others = {UNDECIDED: without_majority, UNLABELLED: _is_bare}
    by_split = Counter(
        (u.split, u.emotion or next(name for name, is_it in others.items() if is_it(u)))
        for u in table.utterances
    )
    return {
        s: {e: by_split[s, e] for e in table.labels}
        | {name: by_split[s, name] for name in others if by_split[s, name]}
        for s in sorted({u.split for u in table.utterances})
    }


def read_rows(path: pathlib.Path) -> list[Utterance]:
    """The utterances of a `table.csv`."""
    required = [c for c in COLUMNS if c not in _OPTIONAL]
    return [parse(row, str(path)) for row in read_csv(path, required=required)]


def _to_csv(utterances: Sequence[Utterance]) -> str:
    filled = [c for c in _OPTIONAL if any(getattr(u, c) for u in utterances)]
    columns = [c for c in COLUMNS if c not in _OPTIONAL or c in filled]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for u in utterances:
        cells = (getattr(u, c) for c in columns)
        writer.writerow("" if c is None else c for c in cells)
    return out.getvalue()
