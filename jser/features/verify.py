"""Reads every record of a dataset and compares it with what was written."""

import collections
from collections.abc import Iterator
import pathlib
from typing import Any

import numpy as np
from tqdm import tqdm

from jser import files
from jser.corpora import csv_rows
from jser.features import shards, store, writer


def verify(folder: pathlib.Path) -> list[str]:
    """What is wrong with a dataset, a line for each fault; empty if it is whole.

    Compares every shard's size and bytes, and of every record the utterance, shape,
    finiteness and digest of its frames, with `manifest.json` and `index.npz`; and that
    index with its own digest.

    Args:
      folder: Of the dataset, as from `features.dataset_folder`.

    Raises:
      FileNotFoundError: if there is no dataset.
      ValueError: if nothing can be compared, since the manifest or index is damaged.
    """
    manifest = _manifest(folder)
    columns = store.read_index(folder)
    return [
        *_wrong_list(folder, manifest, columns),
        *_wrong_records(folder, manifest, columns),
    ]


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    manifest = store.read_manifest(folder)
    remedy = f"Remove {folder.parent} and run jser extract again."
    if "index" not in manifest:
        raise ValueError(f"{folder}: written before digests were kept. {remedy}")
    index = folder / "index.npz"
    now = files.file_digest(index) if index.exists() else "missing"
    if now != manifest["index"]:
        raise ValueError(
            f"{index}: digest {now}, {manifest['index']} when it was written. {remedy}"
        )
    return manifest


def _wrong_list(
    folder: pathlib.Path, manifest: dict[str, Any], columns: dict[str, np.ndarray]
) -> Iterator[str]:
    """Faults of the lists: utterances more than once, other counts or failures."""
    there = collections.Counter([*columns["utt_id"].tolist(), *manifest["failures"]])
    for utt_id, times in there.items():
        if times > 1:
            yield f"{folder}: {utt_id!r} is there {times} times"
    if len(columns["utt_id"]) != manifest["utterances"]:
        yield (
            f"{folder}: index.npz has {len(columns['utt_id'])} utterances,"
            f" manifest.json {manifest['utterances']}"
        )
    inputs = writer.inputs_digest(columns)
    if inputs != manifest["inputs"]:
        yield (
            f"{folder}: digest of all inputs {inputs}, {manifest['inputs']} when it was"
            " written"
        )
    listed = folder / "failures.csv"
    try:
        rows = csv_rows.read_csv(listed, required=("utt_id", "reason"))
    except (ValueError, OSError) as e:
        yield str(e)
        return
    if {r["utt_id"]: r["reason"] for r in rows} != manifest["failures"]:
        yield f"{listed}: not the failures of manifest.json"


def _wrong_records(
    folder: pathlib.Path, manifest: dict[str, Any], columns: dict[str, np.ndarray]
) -> Iterator[str]:
    try:
        info = store.open_builder(folder).info
        with store.reading(folder, folder / "dataset_info.json"):
            split = info.splits[store.SPLIT]
            paths = [pathlib.Path(p) for p in split.filepaths]
    except (ValueError, OSError) as e:
        yield str(e)
        return
    if {p.name for p in paths} != set(manifest["shards"]):
        yield f"{folder}: dataset_info.json lists other shards than manifest.json"
        return
    if sum(split.shard_lengths) != len(columns["utt_id"]):
        yield f"{folder}: dataset_info.json counts other records than index.npz"
        return
    total = len(columns["utt_id"])
    with tqdm(total=total, desc=f"reading {folder}", unit="utterance") as progress:
        start = 0
        for path, count in zip(paths, split.shard_lengths, strict=True):
            rows = {name: x[start : start + count] for name, x in columns.items()}
            faults = list(_wrong_in_shard(path, manifest, rows, info.features))
            yield from faults or _wrong_bytes(path, manifest)
            progress.update(count)
            start += count


def _wrong_bytes(path: pathlib.Path, manifest: dict[str, Any]) -> Iterator[str]:
    now, want = files.file_digest(path), manifest["digests"][path.name]
    if now != want:
        yield (
            f"{path}: digest {now}, {want} when it was written, though every record"
            " in it is whole"
        )


def _wrong_in_shard(
    path: pathlib.Path,
    manifest: dict[str, Any],
    rows: dict[str, np.ndarray],
    layout,
) -> Iterator[str]:
    from array_record.python import array_record_module  # pyright: ignore

    size, count = manifest["shards"][path.name], len(rows["utt_id"])
    there = path.stat().st_size if path.exists() else 0
    if there != size:
        yield f"{path}: {there} bytes, {size} when it was written"
        return
    if not count:
        return
    try:  # Any byte may be damaged, so any error may come.
        reader = array_record_module.ArrayRecordReader(str(path))
        records = reader.num_records()
    except Exception as e:
        yield f"{path}: cannot be opened: {e}"
        return
    if records != count:
        yield f"{path}: {records} records, {count} when it was written"
        return
    spec = manifest["spec"]
    layers = (spec["layers"],) if spec["layers"] > 1 else ()
    for i, utt_id in enumerate(rows["utt_id"].tolist()):
        try:
            example = layout.deserialize_example_np(reader.read([i])[0])
        except Exception as e:
            yield f"{path}: record {i} ({utt_id!r}) cannot be read: {e}"
            continue
        frames = example["frames"]
        want = (int(rows["length"][i]), *layers, spec["width"])
        if example["utt_id"] != utt_id.encode():
            yield f"{path}: record {i} is {example['utt_id']!r}, not {utt_id!r}"
        elif frames.shape != want:
            yield f"{path}: {utt_id!r} has shape {frames.shape}, not {want}"
        elif not np.isfinite(frames).all():
            yield f"{path}: {utt_id!r} has frames that are not finite"
        elif (now := shards.content_digest(frames)) != rows["content"][i]:
            yield (
                f"{path}: {utt_id!r} has frames of digest {now}, {rows['content'][i]}"
                " when it was written"
            )
    reader.close()
