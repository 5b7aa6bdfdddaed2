"""From a corpus as its owner ships it to a checked table."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
import concurrent.futures
import dataclasses
import os
import pathlib

from absl import logging
from tqdm import tqdm

from jser import audio, emotions, files
from jser.corpora import (
    crema_d,
    csv_table,
    demo,
    emodb,
    folder,
    iemocap,
    msp_podcast,
    ravdess,
    spelling,
    splits,
    tables,
)
from jser.corpora.draft import Draft
from jser.corpora.tables import Table, Utterance
from jser.corpora.transcript_csv import add_transcripts

IMPORTERS: dict[str, Callable[[pathlib.Path], Draft]] = {
    "msp_podcast": msp_podcast.read,
    "emodb": emodb.read,
    "ravdess": ravdess.read,
    "crema_d": crema_d.read,
    "iemocap": iemocap.read,
    "csv": csv_table.read,
    "folder": folder.read,
    "table": csv_table.reread,
    "demo": demo.read,
}


def prepare(
    corpus: str,
    source: pathlib.Path,
    out: pathlib.Path,
    *,
    policy: str = "given",
    folds: int = 5,
    seed: int = 0,
    audio_root: pathlib.Path | None = None,
    transcripts: pathlib.Path | None = None,
    merge: dict[str, str] | None = None,
    keep: Sequence[str] = (),
    command: str = "",
) -> Table:
    """Imports a corpus and writes its table to `out`.

    Args:
      corpus: One of `IMPORTERS`.
      source: The corpus's folder, or the CSV file.
      out: Folder of the table.
      policy: How splits are made; see `splits.assign`.
      folds: Cross-validation folds.
      seed: Of the splits, and of the demo's voices.
      audio_root: Where the sounds lie, if not where the importer looks.
      transcripts: A CSV of transcripts that replaces those of the corpus.
      merge: Emotions to count as another one, such as {"excited": "happy"}.
      keep: The only emotions to keep; all when empty. What goes is counted.
      command: The command line behind all this, for the record.

    Raises:
      ValueError: for anything the table refuses, or a file that is missing.
    """
    if corpus not in IMPORTERS:
        raise ValueError(f"--corpus: {corpus!r} is not one of {', '.join(IMPORTERS)}.")
    if corpus == "demo":
        demo.make(source, seed=seed)
    if not source.exists():
        raise ValueError(f"--source: {source} does not exist.")
    draft = IMPORTERS[corpus](source)
    chosen = choose(draft, merge or {}, keep)
    rows = chosen.rows
    if transcripts:
        rows = add_transcripts(rows, transcripts, draft.rows)
    rows = splits.assign(rows, policy, folds=folds, seed=seed)
    table = Table(
        utterances=tuple(sorted(rows, key=lambda u: u.utt_id)),
        labels=chosen.labels
        or emotions.label_set(u.emotion for u in rows if u.emotion),
        audio_root=_root(audio_root or draft.audio_root, out),
        source=draft.source or corpus,
        split_policy=draft.split_policy if policy == "given" else policy,
        excluded=dict(chosen.excluded),
        command=command,
        folder=out,
    )
    tables.check(table, str(source))
    if alike := spelling.merges(table.labels):
        logging.warning(
            "%s look like other spellings of %s. --merge %s makes them one.",
            ", ".join(alike),
            ", ".join(dict.fromkeys(alike.values())),
            ",".join(f"{a}={b}" for a, b in alike.items()),
        )
    return tables.write(probe(table), out)


def choose(draft: Draft, merge: dict[str, str], keep: Sequence[str]) -> Draft:
    """Merges emotions and drops those not kept, in rows, votes and the label set.

    Rows that go are counted. A row that stays may lose votes, of what is not kept.

    Raises:
      ValueError: if the corpus lacks an emotion of `merge` or, when that is done, of
        `keep`.
    """
    have = {u.emotion for u in draft.rows if u.emotion}
    known = have.union(draft.labels, *(tables.votes(u) for u in draft.rows))
    _refuse_unknown("--merge", merge, known)
    _refuse_unknown("--keep", keep, {merge.get(e, e) for e in have})
    rows, excluded = [], Counter(draft.excluded)
    for u in draft.rows:
        emotion = merge.get(u.emotion, u.emotion)
        if keep and emotion and emotion not in keep:
            excluded[f"not kept ({emotion})"] += 1
            continue
        votes = _merged_votes(u, merge, keep) if merge or keep else u.votes
        rows.append(dataclasses.replace(u, emotion=emotion, votes=votes))
    labels = emotions.label_set(merge.get(e, e) for e in draft.labels)
    return dataclasses.replace(
        draft,
        rows=rows,
        labels=tuple(e for e in labels if not keep or e in keep),
        excluded=excluded,
    )


def _merged_votes(u: Utterance, merge: dict[str, str], keep: Sequence[str]) -> str:
    votes = Counter()
    for emotion, number in tables.votes(u).items():
        votes[merge.get(emotion, emotion)] += number
    kept = emotions.label_set(e for e in votes if not keep or e in keep)
    return " ".join(f"{e}:{votes[e]:.15g}" for e in kept)


def _refuse_unknown(flag: str, given: Iterable[str], have: set[str]) -> None:
    if unknown := [e for e in given if e not in have]:
        raise ValueError(
            f"{flag}: the corpus has no {', '.join(unknown)}; it has"
            f" {', '.join(emotions.label_set(have))}."
        )


def probe(table: Table) -> Table:
    """Adds the duration and digest of every sound file.

    A header that cannot be read leaves the duration empty: `jser extract` then
    lists the file among its failures.

    Raises:
      ValueError: if files are missing, or if two utterances are the same recording.
    """
    paths = [table.audio_path(u) for u in table.utterances]
    if missing := [p for p in paths if not p.is_file()]:
        raise ValueError(
            f"{len(missing)} of {len(paths)} sound files are missing, e.g."
            f" {missing[0]}."
        )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        measured = tqdm(
            pool.map(lambda p: (audio.seconds(p), files.file_digest(p)), paths),
            total=len(paths),
            desc="reading sound files",
            unit="file",
        )
        rows = tuple(
            dataclasses.replace(u, seconds=seconds, sha256=sha256)
            for u, (seconds, sha256) in zip(table.utterances, measured, strict=True)
        )
    first: dict[str, Utterance] = {}
    for u in rows:
        other = first.setdefault(u.sha256, u)
        if (other.split, other.fold) != (u.split, u.fold):
            raise ValueError(
                f"{other.file} ({other.split}) and {u.file} ({u.split}) are the same"
                " recording on two sides of a split; remove one of them."
            )
    return dataclasses.replace(table, utterances=rows)


def describe(table: Table) -> str:
    """The counts a person checks before going on, as text."""
    names = [*table.labels]
    if any(not u.emotion for u in table.utterances):
        names.append("unlabelled")
    count = tables.counts(table)
    width = max(6, *(len(s) for s in count))
    lines = [" " * width + "".join(f" {n:>10}" for n in [*names, "all"])]
    for split, by_emotion in count.items():
        cells = [by_emotion.get(n, 0) for n in names]
        lines.append(
            f"{split:<{width}}" + "".join(f" {c:>10}" for c in (*cells, sum(cells)))
        )
    hours = sum(u.seconds or 0 for u in table.utterances) / 3600
    speakers = {u.speaker for u in table.utterances if u.speaker}
    nameless = sum(not u.speaker for u in table.utterances)
    untold = sum(not u.transcript for u in table.utterances)
    unread = sum(u.seconds is None for u in table.utterances)
    folds = {u.fold for u in table.utterances if u.fold is not None}
    lines += [
        "",
        f"{len(table.utterances)} utterances, {hours:.2f} hours, {len(speakers)}"
        f" speakers ({nameless} utterances without), {len(folds)} folds",
        f"{untold} utterances without a transcript, {unread} sound files whose header"
        " cannot be read",
    ]
    lines += [f"excluded: {n} {reason}" for reason, n in table.excluded.items()]
    if table.split_policy == "utterances":
        lines.append("Speakers are shared between splits: expect flattered scores.")
    return "\n".join(lines)


def _root(audio_root: pathlib.Path, out: pathlib.Path) -> str:
    """The audio root as the table keeps it: as it was given, seen from the table."""
    if audio_root.is_absolute():
        return audio_root.as_posix()
    return pathlib.Path(os.path.relpath(audio_root, out)).as_posix()
