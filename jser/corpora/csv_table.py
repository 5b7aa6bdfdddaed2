"""Any corpus described by a CSV file: `file,emotion[,speaker,transcript,split,...]`."""

from collections import Counter
from collections.abc import Sequence
import os
import pathlib

from absl import logging

from jser.corpora import csv_rows, tables, utterances
from jser.corpora.draft import Draft
from jser.corpora.utterances import Utterance


def read(source: pathlib.Path) -> Draft:
    """Reads a CSV with the columns `file` and `emotion`, and any other of the table's.

    Files are relative to the CSV's folder. Without a column `utt_id` the path
    without its suffix is the id. Without `file`, ids are needed, and its features are
    arrays of one's own or of text. The emotions are whatever the column says; where it
    is empty, columns `votes` or `ratings` may tell what raters heard.

    Raises:
      ValueError: naming the file, and the line or utterance that is wrong.
    """
    columns = set(next(iter(csv_rows.read_csv(source, required=())), ()))
    soundless = "utt_id" in columns and "file" not in columns
    required = ("utt_id" if soundless else "file", "emotion")
    cells = csv_rows.read_csv(source, required=required)
    _name_unused(cells, source)
    rows = []
    for row in cells:
        file = row.get("file", "").replace("\\", "/")
        default = os.path.splitext(file)[0]
        given = {"transcript_source": "corpus"} if row.get("transcript") else {}
        row = {**given, **row, "file": file, "utt_id": row.get("utt_id") or default}
        rows.append(utterances.parse(row, str(source)))
    return Draft(rows=rows, audio_root=source.parent)


def reread(source: pathlib.Path) -> Draft:
    """Reads a table of ours that was edited by hand, to check and count it anew."""
    info = tables.read_info(source)
    _name_unused(csv_rows.read_csv(source / "table.csv", required=()), source)
    rows: list[Utterance] = tables.read_rows(source / "table.csv")
    known = {u.emotion for u in rows if u.emotion} <= set(info["labels"])
    return Draft(
        rows=rows,
        audio_root=source / info["audio_root"],
        labels=tuple(info["labels"]) if known else (),
        excluded=Counter(info["excluded"]),
        source=info["source"],
        command=info["command"],
        allow_shared_speakers=info.get("allow_shared_speakers", False)
        or info["split_policy"] in tables.WITHOUT_SPEAKERS,
    )


def _name_unused(cells: Sequence[dict[str, str]], source: pathlib.Path) -> None:
    if unused := sorted(set(cells[0]) - set(utterances.COLUMNS) if cells else ()):
        logging.info("%s: columns not used: %s", source, ", ".join(unused))
