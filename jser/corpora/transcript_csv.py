"""Transcripts from a CSV, joined to utterances by id or path."""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import pathlib

from jser.corpora import csv_rows
from jser.corpora.utterances import Utterance


def add_transcripts(
    rows: Sequence[Utterance],
    path: pathlib.Path,
    corpus: Sequence[Utterance] = (),
) -> list[Utterance]:
    """Fills transcripts from a CSV keyed by `utt_id`, `file` or `FileName`.

    An utterance's words are those under its whole id or path. One that is not there is
    looked for by the last part of its path, if no other has the same, in the corpus or
    in the file.

    Args:
      rows: The utterances to fill.
      path: Of the CSV.
      corpus: All utterances of the corpus, where `rows` are but some of them.

    Raises:
      ValueError: if no such columns are there, a key is there twice or could be that
        of several utterances, or an utterance is not in the file.
    """
    cells = csv_rows.read_csv(path, required=())
    columns = set(cells[0]) if cells else set()
    key = next((k for k in ("utt_id", "file", "FileName") if k in columns), "")
    text = next((t for t in ("transcript", "transcription") if t in columns), "")
    if not key or not text:
        raise ValueError(
            f"{path}: needs a column utt_id, file or FileName and a column transcript"
            f" or transcription; it has {', '.join(sorted(columns)) or 'nothing'}."
        )
    keys = [_normal(c[key]) for c in cells]
    if twice := [k for k, n in Counter(keys).items() if n > 1]:
        raise ValueError(
            f"{path}: {len(twice)} keys are there more than once, e.g."
            f" {_some(twice)}. Leave one row of each."
        )
    by_key = dict(zip(keys, (c[text] for c in cells), strict=True))
    field = "utt_id" if key == "utt_id" else "file"
    mine = {u.utt_id: _normal(getattr(u, field)) for u in rows}
    everyone = [_normal(getattr(u, field)) for u in corpus or rows]
    found = _find(mine, by_key, everyone, f"{path}: column {key}")
    return [
        dataclasses.replace(
            u,
            transcript=by_key[found[u.utt_id]],
            transcript_source=path.name,
            transcript_language="",
            transcript_note="",
        )
        for u in rows
    ]


def _find(
    mine: dict[str, str], by_key: dict[str, str], everyone: Sequence[str], where: str
) -> dict[str, str]:
    """The key of each utterance: its own whole one, or else one of its last part."""
    keys_of: dict[str, list[str]] = {}
    for key in by_key:
        keys_of.setdefault(_last(key), []).append(key)
    alike = Counter(map(_last, everyone))
    found, missing, ambiguous = {}, [], []
    for utt_id, whole in mine.items():
        keys = [whole] if whole in by_key else keys_of.get(_last(whole), [])
        if not keys:
            missing.append(utt_id)
        elif whole not in by_key and (len(keys) > 1 or alike[_last(whole)] > 1):
            ambiguous.append(utt_id)
        else:
            found[utt_id] = keys[0]
    if ambiguous:
        raise ValueError(
            f"{where}: the words of {len(ambiguous)} utterances cannot be told from"
            f" those of others of the same name, e.g. {_some(ambiguous)}. Write whole"
            f" paths or ids as the table does, such as {mine[ambiguous[0]]!r}."
        )
    if missing:
        raise ValueError(
            f"{where}: no transcript for {len(missing)} utterances, e.g."
            f" {_some(missing)}. Give an empty cell to those in which nothing is said."
        )
    return found


def _normal(key: str) -> str:
    """A path with '/' between its parts and no './' before them."""
    return key.replace("\\", "/").removeprefix("./")


def _last(key: str) -> str:
    return key.rpartition("/")[2]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3]))
