"""Another table than a run's own, under the run's label set. docs/cross_corpus.md."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import pathlib

from absl import logging

from jser.config import Data
from jser.corpora import spelling, tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.roots import Roots

# Importers of any corpus: tables of the same one may name other people alike.
_ANY_CORPUS = ("", "csv", "folder")


def read(roots: Roots, c: Data, folder: pathlib.Path) -> Table:
    """Reads a table that is not the one an experiment is of.

    Raises:
      FileNotFoundError: if it is not there.
      ValueError: if it is the experiment's own, or does not lie in the folder of the
        tables, by whose names features and logits go.
    """
    there = roots.data / folder.resolve().name
    if there.resolve() != folder.resolve():
        raise ValueError(
            f"--table: {folder} does not lie in {roots.data}, where features and logits"
            f" are looked up by name. Give --data_root {folder.parent}, or move it."
        )
    if there.resolve() == (roots.data / c.corpus).resolve():
        raise ValueError(f"--table: {folder} is the run's own. Leave --table out.")
    return tables.read(there)


def under(table: Table, labels: Sequence[str], merge: Mapping[str, str]) -> Table:
    """The table under a run's label set: emotions that are not in it are left empty.

    Its fingerprint is another one, and so is what it counts.

    Args:
      table: As it was read.
      labels: Of the run.
      merge: Emotions of the table to count as one of the run's.

    Raises:
      ValueError: if the table lacks an emotion that is to be merged, or the run has
        none that it would be.
    """
    for one, other in merge.items():
        _refuse_unknown(one, table.labels, table.folder)
        _refuse_unknown(other, labels, "the run")
    meant = {e: merge.get(e, e) for e in table.labels}
    known = {e: other for e, other in meant.items() if other in labels}
    _tell_spellings(set(table.labels) - known.keys(), labels)
    rows = [
        dataclasses.replace(u, emotion=known.get(u.emotion, ""), votes="", ratings="")
        for u in table.utterances
    ]
    return dataclasses.replace(table, utterances=tuple(rows), labels=tuple(labels))


def _refuse_unknown(emotion: str, known: Sequence[str], where: object) -> None:
    if emotion not in known:
        raise ValueError(
            f"--merge: {emotion!r} is no emotion of {where}, which has"
            f" {', '.join(known)}."
        )


def _tell_spellings(unknown: Iterable[str], labels: Sequence[str]) -> None:
    alike = spelling.merges([*unknown, *labels])
    alike = {one: other for one, other in alike.items() if other in labels}
    if alike:
        logging.warning(
            "%s look like other spellings of the run's emotions. --merge %s makes them"
            " one.",
            ", ".join(alike),
            ",".join(f"{one}={other}" for one, other in alike.items()),
        )


def same_sounds(trained_on: Iterable[Utterance], table: Table) -> set[str]:
    """The utt_id of those whose sound file is, byte by byte, one that was trained on.

    A copy at another rate, or in another format, is not known again.
    """
    digests = {u.sha256 for u in trained_on if u.sha256}
    return {u.utt_id for u in table.utterances if u.sha256 in digests}


def same_speakers(
    own: Table, trained_on: Sequence[Utterance], table: Table
) -> set[str]:
    """The names of speakers who were trained on, where names mean the same people.

    They do within one corpus: in tables by the same importer of a corpus, and in any
    two that share a sound. Elsewhere speaker "03" is somebody else.
    """
    named = own.source == table.source and own.source not in _ANY_CORPUS
    if not named and not same_sounds(own.utterances, table):
        return set()
    return {u.speaker for u in trained_on if u.speaker}
