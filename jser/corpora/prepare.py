"""From a corpus as its owner ships it to a checked table."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
import dataclasses
import os
import pathlib

from absl import logging

from jser import emotions
from jser.corpora import (
    crema_d,
    csv_table,
    demo,
    emodb,
    folder,
    iemocap,
    msp_podcast,
    problems,
    ratings,
    ravdess,
    sounds,
    spelling,
    splits,
    tables,
)
from jser.corpora.draft import NO_VOTE, Draft
from jser.corpora.tables import Fault, Table
from jser.corpora.transcript_csv import add_transcripts
from jser.corpora.utterances import Utterance

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

# Those that tell what raters said, and keep what they did not agree on.
_RATED = {
    "msp_podcast": msp_podcast.read,
    "crema_d": crema_d.read,
    "iemocap": iemocap.read,
}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    skip_missing: bool = False,
    allow_shared_speakers: bool = False,
    keep_no_agreement: bool = False,
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
      skip_missing: Leaves out, and counts, utterances whose sound file is missing.
      allow_shared_speakers: Takes splits in which a speaker is on two sides.
      keep_no_agreement: Keeps what each rater said, and utterances without a majority,
        which have votes and no emotion.
      command: The command line behind all this, for the record.

    Raises:
      ValueError: for anything the table refuses, or a file that is missing; where
        rows are at fault, `prepare_problems.csv` in `out` has all of them.
    """
    draft = read(corpus, source, seed=seed, keep_no_agreement=keep_no_agreement)
    draft.audio_root = audio_root or draft.audio_root
    chosen, missing = choose(draft, merge or {}, keep), []
    if skip_missing:
        chosen, missing = leave_out_missing(chosen)
    rows = chosen.rows
    if transcripts:
        rows = add_transcripts(rows, transcripts, draft.rows)
    rows = splits.assign(rows, policy, folds=folds, seed=seed)
    shared = draft.allow_shared_speakers and policy == "given"
    if allow_shared_speakers and tables.shared_speakers(rows):
        shared = True
    table = Table(
        utterances=tuple(sorted(rows, key=lambda u: u.utt_id)),
        labels=chosen.labels
        or emotions.label_set(u.emotion for u in rows if u.emotion),
        audio_root=_root(draft.audio_root, out),
        source=draft.source or corpus,
        split_policy=policy,
        allow_shared_speakers=shared,
        excluded=dict(chosen.excluded),
        command=_command(draft, command, merge, keep, transcripts, policy != "given"),
        folder=out,
    )
    problems.refuse(tables.faults(table), source, out)
    _warn_of_spellings(table.labels)
    _warn_of_formulas(table)
    table, found = sounds.probe(table)
    problems.warn([*missing, *found], source, out)
    return tables.write(table, out)


def _command(draft: Draft, command: str, *choices: object) -> str:
    """The command lines behind a table; one read again as it is keeps its own."""
    again = command if any(choices) or not draft.command else ""
    return "\n".join(c for c in (draft.command, again) if c)


def read(
    corpus: str,
    source: pathlib.Path,
    *,
    seed: int = 0,
    keep_no_agreement: bool = False,
) -> Draft:
    """A corpus as its owner ships it; what `prepare` makes a table of.

    Raises:
      ValueError: if there is no such corpus, or it cannot be read; if what raters said
        is asked for and it does not tell.
    """
    if corpus not in IMPORTERS:
        raise ValueError(f"--corpus: {corpus!r} is not one of {', '.join(IMPORTERS)}.")
    if keep_no_agreement and corpus not in _RATED:
        raise ValueError(
            f"--keep_no_agreement: {corpus} has no raters that an importer knows; those"
            f" of {', '.join(_RATED)} are known. Of csv and table, columns votes and"
            " ratings are kept without it."
        )
    if corpus == "demo":
        demo.make(source, seed=seed)
    if not source.exists():
        raise ValueError(f"--source: {source} does not exist.")
    if keep_no_agreement:
        return _RATED[corpus](source, keep_no_agreement=True)
    return IMPORTERS[corpus](source)


def _warn_of_spellings(labels: Sequence[str]) -> None:
    if alike := spelling.merges(labels):
        logging.warning(
            "%s look like other spellings of %s. --merge %s makes them one.",
            ", ".join(alike),
            ", ".join(dict.fromkeys(alike.values())),
            ",".join(f"{a}={b}" for a, b in alike.items()),
        )


def _warn_of_formulas(table: Table) -> None:
    """No cell is altered: what the corpus says is what stands in every CSV."""
    names = [*(u.utt_id for u in table.utterances), *table.labels]
    if bad := [name for name in names if name.startswith(_FORMULA)]:
        logging.warning(
            "%d ids or labels begin with one of = + - @, as %r: a spreadsheet takes"
            " them for formulas. Open tables and predictions there as text.",
            *(len(bad), bad[0]),
        )


def choose(draft: Draft, merge: dict[str, str], keep: Sequence[str]) -> Draft:
    """Merges emotions and drops those not kept: in rows, votes, ratings, the label set.

    Rows that go are counted. A row that stays may lose votes, of what is not kept; one
    without a majority that loses all goes. Merging gives none a majority.

    Raises:
      ValueError: if the corpus lacks an emotion of `merge` or, when that is done, of
        `keep`.
    """
    if not merge and not keep:
        return draft
    have = {u.emotion for u in draft.rows if u.emotion}
    known = have.union(draft.labels, *map(_heard, draft.rows))
    _refuse_unknown("--merge", merge, known)
    _refuse_unknown("--keep", keep, {merge.get(e, e) for e in have})
    rows, excluded = [], Counter(draft.excluded)
    for u in draft.rows:
        emotion = merge.get(u.emotion, u.emotion)
        if keep and emotion and emotion not in keep:
            excluded[f"not kept ({emotion})"] += 1
            continue
        votes = _merged_votes(u, merge, keep)
        said = ratings.merged(u, merge, keep or {merge.get(e, e) for e in known})
        new = dataclasses.replace(u, emotion=emotion, votes=votes, ratings=said)
        if tables.without_majority(u) and not (votes if u.votes else said):
            excluded[f"no majority{NO_VOTE} kept"] += 1
        else:
            rows.append(new)
    labels = emotions.label_set(merge.get(e, e) for e in draft.labels)
    return dataclasses.replace(
        draft,
        rows=rows,
        labels=tuple(e for e in labels if not keep or e in keep),
        excluded=excluded,
    )


def _heard(u: Utterance) -> set[str]:
    """The emotions that raters named, by votes or one by one."""
    return set(tables.votes(u)).union(*map(ratings.named, ratings.parse(u)))


def _merged_votes(u: Utterance, merge: dict[str, str], keep: Sequence[str]) -> str:
    votes = defaultdict(float)
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


def leave_out_missing(draft: Draft) -> tuple[Draft, list[Fault]]:
    """Leaves out, and counts, the utterances whose sound file is missing."""
    missing = [
        u
        for u in draft.rows
        if tables.is_inside(u.file) and not (draft.audio_root / u.file).is_file()
    ]
    if not missing:
        return draft, []
    gone = {u.utt_id for u in missing}
    rows = [u for u in draft.rows if u.utt_id not in gone]
    excluded = draft.excluded + Counter({"sound file missing": len(missing)})
    what = f"{len(missing)} sound files are missing and left out"
    draft = dataclasses.replace(draft, rows=rows, excluded=excluded)
    return draft, [Fault(what, missing, "")]


def describe(table: Table) -> str:
    """The counts a person checks before going on, as text."""
    count = tables.counts(table)
    names = list(dict.fromkeys(name for by in count.values() for name in by))
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
    unread = sum(bool(u.file) and u.seconds is None for u in table.utterances)
    odd = Counter(u.sound_note for u in table.utterances if u.sound_note)
    folds = {u.fold for u in table.utterances if u.fold is not None}
    lines += [
        "",
        f"{len(table.utterances)} utterances, {hours:.2f} hours, {len(speakers)}"
        f" speakers ({nameless} utterances without), {len(folds)} folds",
        f"{untold} utterances without a transcript, {unread} sound files whose header"
        " cannot be read",
    ]
    lines += [f"{note}: {n} sounds" for note, n in sorted(odd.items())]
    if undecided := sum(map(tables.without_majority, table.utterances)):
        lines.append(
            f"{undecided} utterances are undecided, without a majority: they train with"
            " soft labels and are never scored as a class"
        )
    lines += [f"excluded: {n} {reason}" for reason, n in table.excluded.items()]
    if table.shares_speakers:
        lines.append("Speakers are shared between splits: expect flattered scores.")
    return "\n".join(lines)


def _root(audio_root: pathlib.Path, out: pathlib.Path) -> str:
    """The audio root as the table keeps it: as it was given, seen from the table."""
    if audio_root.is_absolute():
        return audio_root.as_posix()
    return pathlib.Path(os.path.relpath(audio_root, out)).as_posix()
