"""Parts on disk -> one TFDS dataset, ArrayRecord shards, without TensorFlow."""

from collections.abc import Mapping, Sequence
import contextlib
import csv
import io
import os
import pathlib
import re
import tempfile

import numpy as np

from jser import files
from jser.features import frontends, store
from jser.features.shards import Part

_MAX_SHARDS = 128  # Each that was read from stays open.
_BLOCK = 1 << 16  # Bytes; an ArrayRecord file has no less than two.


def write(
    folder: pathlib.Path,
    spec: frontends.Spec,
    parts: Sequence[pathlib.Path],
    failed_inputs: Mapping[str, str],
) -> None:
    """Writes the TFDS dataset of `parts`, in their order, in 128 shards at most.

    The dataset appears under its final name only when it is complete and on disk. One
    that is there gives way in two renames; a cut between them leaves neither, and the
    parts.

    Args:
      folder: Its final name, as from `features.dataset_folder`.
      spec: Of the front end.
      parts: Finished parts, each utterance in one of them.
      failed_inputs: By utt_id, digests of the inputs of those that failed.

    Raises:
      OSError: if another process wrote it meanwhile; its dataset stands.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    former = _manifest(folder)
    size = sum(_room(part.stat().st_size) for part in parts)
    with (
        files.writing(folder, size),
        tempfile.TemporaryDirectory(prefix="incomplete.", dir=folder.parent) as home,
        contextlib.redirect_stdout(io.StringIO()),  # TFDS prints of downloads.
    ):
        name = re.sub(r"\W", "_", folder.parent.name)  # TFDS allows no more in one.
        builder = _builder_class(name)(
            spec=spec,
            parts=parts,
            failed_inputs=failed_inputs,
            data_dir=home,
            file_format="array_record",
        )
        builder.download_and_prepare(download_dir=os.fspath(parts[0].parent))
        if _manifest(folder) != former:
            raise FileExistsError(
                f"{folder}: another run wrote it meanwhile. Run the same command again."
            )
        if former is not None:
            folder.rename(pathlib.Path(home) / "former")
        pathlib.Path(home, name, store.VERSION).rename(folder)


def _room(size: int) -> int:
    """Bytes of a shard by its part's: whole blocks, and one more."""
    return (-(-size // _BLOCK) + 1) * _BLOCK


def _manifest(folder: pathlib.Path) -> bytes | None:
    """What identifies a dataset; None where there is none."""
    path = folder / "manifest.json"
    return path.read_bytes() if path.exists() else None


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
            with open(path, "rb") as f:
                os.fsync(f.fileno())  # The parts are removed when we are done.

    class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.core.Version(store.VERSION)

        def __init__(self, *, spec, parts, failed_inputs, **kwargs):
            self._spec, self._parts = spec, list(parts)
            self._failed_inputs = dict(failed_inputs)
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
                description=f"Frames by {self._spec.name}.",
                features=tfds.features.FeaturesDict(
                    {"utt_id": tfds.features.Text(), "frames": frames}
                ),
            )

        def _split_generators(self, dl_manager):
            raise AssertionError("shards come from _shard_iterators_per_split")

        _generate_examples = _split_generators

        def _shard_iterators_per_split(self, dl_manager):
            each = -(-len(self._parts) // _MAX_SHARDS)
            starts = range(0, len(self._parts), each)
            shards = [self._parts[i : i + each] for i in starts]
            return {store.SPLIT: [lambda s=s: _examples(s) for s in shards]}

        def _example_writer(self):
            return Writer(tfds.core.FileFormat.ARRAY_RECORD)

        def _download_and_prepare(self, dl_manager, download_config=None):
            super()._download_and_prepare(dl_manager, download_config)
            folder = pathlib.Path(self.data_path)  # TFDS renames it when we return.
            _write_index(folder, self._spec, self._parts, self._failed_inputs)

    return Builder


def _examples(paths: Sequence[pathlib.Path]):
    for path in paths:
        part = Part.load(path)
        ends = np.cumsum(part.length)
        for utt_id, end, length in zip(part.utt_id, ends, part.length, strict=True):
            name = str(utt_id)
            yield name, {"utt_id": name, "frames": part.frames[end - length : end]}


def _write_index(
    folder: pathlib.Path,
    spec: frontends.Spec,
    parts: Sequence[pathlib.Path],
    failed_inputs: Mapping[str, str],
) -> None:
    loaded = [Part.load(p, frames=False) for p in parts]
    spans = ("start", "stop") if spec.trimmed else ()
    columns = {
        c: np.concatenate([getattr(p, c) for p in loaded])
        for c in ("utt_id", "digest", "content", "length", *spans)
    }
    index = io.BytesIO()
    np.savez(index, allow_pickle=False, **columns)
    files.write_atomically(folder / "index.npz", index.getvalue())
    failures = {u: reason for p in loaded for u, reason in p.failures.items()}
    write_failures(folder / "failures.csv", failures)
    shards = sorted(folder.glob("*.array_record*"))
    files.write_json(
        folder / "manifest.json",
        {
            "schema": store.SCHEMA,
            "spec": spec.described(),
            "utterances": len(columns["utt_id"]),
            "inputs": inputs_digest(columns),
            "index": files.file_digest(folder / "index.npz"),
            "failures": failures,
            "failed_inputs": dict(failed_inputs),
            "shards": {s.name: s.stat().st_size for s in shards},
            "digests": {s.name: files.file_digest(s) for s in shards},
        },
    )


def inputs_digest(columns: Mapping[str, np.ndarray]) -> str:
    """Digest of an index's utterances and of what was read of them, in any order."""
    read = zip(columns["utt_id"], columns["digest"], strict=True)
    return files.digest(*sorted(f"{utt_id} {digest}" for utt_id, digest in read))


def write_failures(path: pathlib.Path, failures: Mapping[str, str]) -> None:
    """Writes `utt_id,reason` rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("utt_id", "reason"))
    writer.writerows(failures.items())
    files.write_atomically(path, out.getvalue())
