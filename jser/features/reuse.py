"""Frames that are stored already, found by what they were made from, and how.

A sound or transcript that some dataset of the same front end has frames of is not
encoded again, whatever table it is in, under which id and in which row.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import pathlib

from absl import logging

from jser.features import frontends, shards, store
from jser.features.shards import Part, Read, Shard, Stored
from jser.features.store import FeatureSet

_OPEN_DATASETS = 4
_OPEN_PARTS = 2  # Of up to half an hour each; rows mostly follow each other.


def plan(cut: Sequence[Shard], root: pathlib.Path) -> list[Shard]:
    """The same shards, each with how to read those of its frames that are stored.

    Looked for are complete datasets of any corpus, and parts of this one that a run
    left which was cut before its table changed. What cannot be read is passed over,
    with a warning.

    Args:
      cut: Of one front end. Those whose part is there stay as they are.
      root: Folder of all features.
    """
    todo = [shard for shard in cut if not shard.path.exists()]
    wanted = {shard.digest(u) for shard in todo for u in shard.rows}
    wanted.discard("")  # Of a sound that was not there, none is known.
    stored: dict[str, Read] = {}
    for shard in todo[:1]:
        for digest, read in (
            *_of_datasets(root.absolute(), shard.spec),
            *_of_parts(shard.path.parent),
        ):
            if digest in wanted:
                stored.setdefault(digest, read)
    return [_with(stored, shard) for shard in cut]


def _with(stored: Mapping[str, Read], shard: Shard) -> Shard:
    if shard.path.exists():
        return shard
    digests = {u.utt_id: shard.digest(u) for u in shard.rows}
    mine = {u: stored[digest] for u, digest in digests.items() if digest in stored}
    return dataclasses.replace(shard, stored=mine)


def _of_datasets(
    root: pathlib.Path, spec: frontends.Spec
) -> Iterator[tuple[str, Read]]:
    """Digests of inputs, and how to read their frames."""
    for folder in sorted(root.glob(f"*/{spec.name}*/{store.VERSION}")):
        try:
            manifest = store.read_manifest(folder)
            if not store.is_of(manifest["spec"], spec):
                continue
            written = (folder / "manifest.json").stat().st_mtime_ns
            features = _open(folder, written)
        except (ValueError, OSError) as e:
            logging.warning("not reused: %s", e)
            continue
        read = functools.partial(_read_record, folder, written)
        # Without digests of frames, as in very old ones, there is nothing to go by.
        columns = zip(features.digest, features.content, strict=False)
        for record, (digest, content) in enumerate(columns):
            yield digest, functools.partial(read, record, content)


def _of_parts(folder: pathlib.Path) -> Iterator[tuple[str, Read]]:
    for path in sorted(folder.glob("*.npz")):
        try:
            part = Part.load(path, frames=False)
        except (ValueError, OSError) as e:
            logging.warning("not reused: %s", e)
            continue
        for row, digest in enumerate(part.digest.tolist()):
            yield digest, functools.partial(_read_row, path, row)


def _read_record(
    folder: pathlib.Path, written: int, record: int, content: str
) -> Stored | None:
    """The frames of a record; None, with a warning, if they are not as written."""
    try:
        features = _open(folder, written)
        (frames,) = features.read([record])
        stored = Stored(frames, features.span(record))
    except Exception as e:  # Any byte may be damaged, so any error may come.
        logging.warning("%s: record %d is not reused: %s", folder, record, e)
        return None
    return _if_whole(stored, content, folder, record)


def _read_row(path: pathlib.Path, row: int) -> Stored | None:
    """The frames of a row of a part; None, with a warning, if not as written."""
    try:
        part = _load(path)
    except (ValueError, OSError) as e:
        logging.warning("row %d is not reused: %s", row, e)
        return None
    end = int(part.length[: row + 1].sum())
    frames = part.frames[end - int(part.length[row]) : end]
    stored = Stored(frames, (int(part.start[row]), int(part.stop[row])))
    return _if_whole(stored, str(part.content[row]), path, row)


def _if_whole(
    stored: Stored, content: str, path: pathlib.Path, row: int
) -> Stored | None:
    now = shards.content_digest(stored.frames)
    if now != content:
        logging.warning(
            "%s: record %d is not reused: its frames have digest %s, %s when they were"
            " written",
            *(path, row, now, content),
        )
        return None
    return stored


@functools.lru_cache(_OPEN_DATASETS)
def _open(folder: pathlib.Path, written: int) -> FeatureSet:
    """Opens a dataset; one that took its place at another time is another one."""
    del written
    return FeatureSet(folder)


@functools.lru_cache(_OPEN_PARTS)
def _load(path: pathlib.Path) -> Part:
    return Part.load(path)
