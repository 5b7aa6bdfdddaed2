"""Frames on disk: one TFDS dataset per front end, joined by utt_id. docs/features.md.

Written by TFDS (ArrayRecord shards, raw float16), without TensorFlow. Beside the shards
lie `index.npz`, which says which record is whose, how long it is and what it was made
from, and `manifest.json`, which says by what and how large each shard must be.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import io
import os
import pathlib
import tempfile
from typing import Any

from absl import logging
import numpy as np

from jser import files
from jser.corpora import table as tables
from jser.corpora.table import Table
from jser.corpora.table import Utterance
from jser.extract import frontends

VERSION = "1.0.0"  # Of the layout on disk.
_SPLIT = "utterances"  # TFDS needs a name; our splits live in the table.


@dataclasses.dataclass(frozen=True)
class Part:
    """A run of encoded utterances, as extraction hands them over."""

    utt_id: np.ndarray  # Str, N.
    digest: np.ndarray  # Str, N; of each utterance's input.
    length: np.ndarray  # Int, N; frames of each.
    frames: np.ndarray  # Float16, (sum of length) D.
    failures: dict[str, str]  # utt_id to reason, of those that could not be encoded.

    def save(self, path: pathlib.Path) -> None:
        """Writes the part, whole or not at all."""
        out = io.BytesIO()
        failed = np.array(list(self.failures.items()), dtype=str).reshape(-1, 2)
        np.savez(
            out,
            utt_id=self.utt_id,
            digest=self.digest,
            length=self.length,
            frames=self.frames,
            failures=failed,
        )
        files.write_atomically(path, out.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path, *, frames: bool = True) -> "Part":
        """Reads a part that `save` wrote; without its frames if only the rest counts."""
        with np.load(path, allow_pickle=False) as data:
            arrays = {k: data[k] for k in ("utt_id", "digest", "length")}
            failures = {str(k): str(v) for k, v in data["failures"]}
            kept = data["frames"] if frames else np.zeros((0, 0), np.float16)
        return cls(**arrays, frames=kept, failures=failures)


class FeatureSet:
    """The frames of one front end on one corpus; random access by record number."""

    def __init__(self, folder: pathlib.Path):
        """Opens a dataset and checks that every shard is there in full size.

        Raises:
          FileNotFoundError: if there is no dataset.
          ValueError: if a shard is missing or has another size than when written.
        """
        import tensorflow_datasets as tfds

        self.folder = folder
        if not (folder / "manifest.json").exists():
            raise FileNotFoundError(
                f"{folder}: no features. Make them with scripts/extract.py"
                f" --frontend {folder.parent.name}."
            )
        manifest = files.read_json(folder / "manifest.json")
        self.spec: dict[str, Any] = manifest["spec"]
        self.failures: dict[str, str] = manifest["failures"]
        for name, size in manifest["shards"].items():
            shard = folder / name
            found = shard.stat().st_size if shard.exists() else 0
            if found != size:
                raise ValueError(
                    f"{shard}: {found} bytes, {size} when it was written. Remove"
                    f" {folder.parent} and run scripts/extract.py again."
                )
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            self.utt_id = [str(u) for u in index["utt_id"]]
            self.digest = [str(d) for d in index["digest"]]
            self.length = index["length"]
        self.record = {u: i for i, u in enumerate(self.utt_id)}
        builder = tfds.builder_from_directory(str(folder))
        self._source = builder.as_data_source(split=_SPLIT)  # pyright: ignore

    @property
    def width(self) -> int:
        """Width of the frames, D."""
        return self.spec["width"]

    def read(self, records: np.ndarray) -> list[np.ndarray]:
        """The frames [T_i, D] or [T_i, L, D] float16 of these records, in order."""
        found = self._source.__getitems__([int(r) for r in records])
        for record, example in zip(records, found, strict=True):
            if example["utt_id"].decode() != self.utt_id[record]:
                raise ValueError(
                    f"{self.folder}: record {record} is {example['utt_id'].decode()!r},"
                    f" index.npz says {self.utt_id[record]!r}. Extract again."
                )
        return [example["frames"] for example in found]


@dataclasses.dataclass(frozen=True)
class Split:
    """Utterances with the frames of all their streams, joined by utt_id."""

    utterances: list[Utterance]
    streams: Mapping[str, FeatureSet]
    label: np.ndarray  # Int, N; -1 where the label is held back.
    record: Mapping[str, np.ndarray]  # Int, N; each stream's record of utterance i.
    length: Mapping[str, np.ndarray]  # Int, N; its frames.

    def __len__(self) -> int:
        return len(self.utterances)

    def target(self, labels: Sequence[str], *, soft: bool = False) -> np.ndarray:
        """Float32 [N, C]: one-hot labels, zeros where they are held back.

        With `soft`, the shares of the annotators' votes, where there are any.
        """
        target_NC = (self.label[:, None] == np.arange(len(labels))).astype(np.float32)
        if soft:
            for row, utterance in zip(target_NC, self.utterances, strict=True):
                votes = tables.votes(utterance)
                if total := sum(votes.values()):
                    row[:] = [votes.get(name, 0.0) / total for name in labels]
        return target_NC

    def read(self, rows: np.ndarray) -> dict[str, list[np.ndarray]]:
        """The frames of these utterances, per stream."""
        return {s: f.read(self.record[s][rows]) for s, f in self.streams.items()}


def dataset_folder(root: pathlib.Path, corpus: str, front_end: str) -> pathlib.Path:
    """Where the features of a corpus by a front end lie."""
    return root / corpus / front_end / VERSION


def open_streams(
    root: pathlib.Path, corpus: str, streams: Mapping[str, str]
) -> dict[str, FeatureSet]:
    """Opens each stream's features.

    Raises:
      ValueError: if the features are another version's than the front end's today.
    """
    opened = {}
    for stream, name in streams.items():
        found = FeatureSet(dataset_folder(root, corpus, name))
        refuse_other_spec(found, frontends.get(name).spec)
        opened[stream] = found
    return opened


def refuse_other_spec(found: FeatureSet, spec: frontends.Spec) -> None:
    """Raises ValueError with both values if `found` was made by another front end."""
    want = dataclasses.asdict(spec)
    for field in want | found.spec:
        if found.spec.get(field) != want.get(field):
            raise ValueError(
                f"{found.folder}: made with {field}={found.spec.get(field)!r}, now it"
                f" is {want.get(field)!r}. Remove {found.folder.parent} and run"
                " scripts/extract.py again."
            )


def join(
    table: Table, rows: Sequence[Utterance], streams: Mapping[str, FeatureSet]
) -> Split:
    """Joins utterances with their frames.

    Utterances that a front end could not encode are left out, counted in the log; they
    stand in its `failures.csv`.

    Raises:
      ValueError: if an utterance has no frames, or frames made from another input.
    """
    failed = {u.utt_id for u in rows for f in streams.values() if u.utt_id in f.failures}
    if failed:
        logging.warning("%d utterances left out: see failures.csv", len(failed))
    rows = [u for u in rows if u.utt_id not in failed]
    for found in streams.values():
        _refuse_other_inputs(table, rows, found)
    index = {name: i for i, name in enumerate(table.labels)}
    record = {
        s: np.array([f.record[u.utt_id] for u in rows], int)
        for s, f in streams.items()
    }
    return Split(
        utterances=list(rows),
        streams=streams,
        label=np.array([index.get(u.emotion, -1) for u in rows], np.int32),
        record=record,
        length={s: f.length[record[s]] for s, f in streams.items()},
    )


def _refuse_other_inputs(
    table: Table, rows: Sequence[Utterance], found: FeatureSet
) -> None:
    remedy = f"Remove {found.folder.parent} and run scripts/extract.py again."
    missing = [u.utt_id for u in rows if u.utt_id not in found.record]
    if missing:
        raise ValueError(
            f"{found.folder}: no frames for {len(missing)} utterances of {table.folder},"
            f" e.g. {missing[0]!r}. {remedy}"
        )
    for u in rows:
        now = tables.input_digest(u, found.spec["kind"])
        then = found.digest[found.record[u.utt_id]]
        if now != then:
            what = "sound" if found.spec["kind"] == "speech" else "transcript"
            raise ValueError(
                f"{found.folder}: the frames of {u.utt_id!r} were made from another"
                f" {what} (digest {then}) than the table's ({now}). {remedy}"
            )


def write(
    root: pathlib.Path,
    corpus: str,
    spec: frontends.Spec,
    parts: Sequence[pathlib.Path],
) -> FeatureSet:
    """Writes the TFDS dataset of `parts`, one shard each, in their order.

    The dataset appears under its final name only when it is complete.
    """
    builder = _builder_class(spec.name)(
        spec=spec,
        parts=parts,
        data_dir=os.fspath((root / corpus).absolute()),
        file_format="array_record",
    )
    with (
        tempfile.TemporaryDirectory() as nothing,
        contextlib.redirect_stdout(io.StringIO()),  # TFDS prints of downloads.
    ):
        builder.download_and_prepare(download_dir=nothing)
    return FeatureSet(dataset_folder(root, corpus, spec.name))


def _builder_class(dataset_name: str):
    """A TFDS builder class of that name; importing TFDS is put off until here."""
    from array_record.python import array_record_module  # pyright: ignore
    import tensorflow_datasets as tfds

    class Writer(tfds.core.ExampleWriter):
        """Writes for random access. Zstandard gains 8 % and halves the speed."""

        def write(self, path, examples):
            writer = array_record_module.ArrayRecordWriter(
                os.fspath(path), "group_size:1,uncompressed"
            )
            for _, example in examples:
                writer.write(example)
            writer.close()

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.core.Version(VERSION)

        def __init__(self, *, spec, parts, **kwargs):
            self._spec, self._parts = spec, list(parts)
            super().__init__(**kwargs)

        def _info(self):
            layers = (self._spec.layers,) if self._spec.layers > 1 else ()
            frames = tfds.features.Tensor(
                shape=(None, *layers, self._spec.width),
                dtype=np.float16,
                encoding=tfds.features.Encoding.BYTES,
            )
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"Frames of the front end {self._spec.name}.",
                features=tfds.features.FeaturesDict(
                    {"utt_id": tfds.features.Text(), "frames": frames}
                ),
            )

        def _split_generators(self, dl_manager):
            raise AssertionError("shards come from _shard_iterators_per_split")

        _generate_examples = _split_generators

        def _shard_iterators_per_split(self, dl_manager):
            return {_SPLIT: [lambda p=p: _examples(p) for p in self._parts]}

        def _example_writer(self):
            return Writer(tfds.core.FileFormat.ARRAY_RECORD)

        def _download_and_prepare(self, dl_manager, download_config=None):
            super()._download_and_prepare(dl_manager, download_config)
            folder = pathlib.Path(self.data_path)  # TFDS renames it when we return.
            _write_index(folder, self._spec, self._parts)

    return Builder


def _examples(path: pathlib.Path):
    part = Part.load(path)
    ends = np.cumsum(part.length)
    for utt_id, end, length in zip(part.utt_id, ends, part.length, strict=True):
        name = str(utt_id)
        yield name, {"utt_id": name, "frames": part.frames[end - length : end]}


def _write_index(
    folder: pathlib.Path, spec: frontends.Spec, parts: Sequence[pathlib.Path]
) -> None:
    loaded = [Part.load(p, frames=False) for p in parts]
    columns = {
        c: np.concatenate([getattr(p, c) for p in loaded])
        for c in ("utt_id", "digest", "length")
    }
    np.savez(folder / "index.npz", allow_pickle=False, **columns)
    failures = {u: reason for p in loaded for u, reason in p.failures.items()}
    write_failures(folder / "failures.csv", failures)
    shards = sorted(folder.glob("*.array_record*"))
    files.write_json(
        folder / "manifest.json",
        {
            "spec": dataclasses.asdict(spec),
            "utterances": len(columns["utt_id"]),
            "failures": failures,
            "shards": {s.name: s.stat().st_size for s in shards},
        },
    )


def write_failures(path: pathlib.Path, failures: Mapping[str, str]) -> None:
    """Writes `utt_id,reason` rows."""
    import csv

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("utt_id", "reason"))
    writer.writerows(failures.items())
    files.write_atomically(path, out.getvalue())
