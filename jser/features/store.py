"""Frames on disk: one TFDS dataset per front end, joined by utt_id. docs/features.md.

TFDS's ArrayRecord shards hold the frames as raw float16. Beside them lie `index.npz`,
which says which record is whose, how long it is and what it was made from, and
`manifest.json`, which says by what and how large each shard must be.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jser import archives, audio, files
from jser.config_rules import is_sound
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.feature_names import FeatureName
from jser.features import frontends, shards
from jser.features.records import decode

VERSION = "1.0.0"  # Of the layout on disk.
SCHEMA = 1  # Of manifest.json.
_FEATURES = "tensorflow_datasets.core.features."
SPLIT = "utterances"  # TFDS needs a name; our splits live in the table.


class FeatureSet:
    """The frames of one front end on one corpus; random access by record number."""

    def __init__(self, folder: pathlib.Path, most: int = 0):
        """Opens a dataset and checks that every shard is there in full size.

        Args:
          folder: Of the dataset.
          most: Frames of an utterance that are read, the first ones; 0 for all.

        Raises:
          FileNotFoundError: if there is no dataset.
          ValueError: if a shard is missing or has another size than when written.
        """
        self.folder = folder
        manifest = read_manifest(folder)
        self.spec: dict[str, Any] = manifest["spec"]
        self.failures: dict[str, str] = manifest["failures"]
        self.failed_inputs: dict[str, str] = manifest.get("failed_inputs", {})
        for name, size in manifest["shards"].items():
            shard = folder / name
            there = shard.stat().st_size if shard.exists() else 0
            if there != size:
                raise ValueError(
                    f"{shard}: {there} bytes, {size} when it was written. Remove"
                    f" {folder.parent} and run jser extract again."
                )
        index = read_index(folder)
        self.utt_id: list[str] = index["utt_id"].tolist()
        self.digest: list[str] = index["digest"].tolist()
        self.length, self._most = index["length"], most or None
        self.cut = int((self.length > most).sum()) if most else 0
        if most:
            self.length = np.minimum(self.length, most)
        # None where they were written before digests of frames were kept.
        self.content: list[str] = (
            index["content"].tolist() if "content" in index else []
        )
        self._start, self._stop = index.get("start"), index.get("stop")
        self.record = {u: i for i, u in enumerate(self.utt_id)}
        import tensorflow_datasets as tfds

        builder = open_builder(folder)
        with reading(folder, folder / "dataset_info.json"):
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            self._source = builder.as_data_source(  # pyright: ignore
                split=SPLIT, deserialize_method=raw
            )
            if len(self._source) != len(self.utt_id):
                raise ValueError(
                    f"{len(self._source)} records, {len(self.utt_id)} in index.npz"
                )

    @property
    def width(self) -> int:
        """Width of the frames, D."""
        return self.spec["width"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame, [D], or [L, D] of several layers."""
        layers = self.spec["layers"]
        return (layers, self.width) if layers > 1 else (self.width,)

    def describe(self) -> str:
        """Where it is and how much is in it, in a line."""
        layers = f"{self.spec['layers']} x " if self.spec["layers"] > 1 else ""
        return (
            f"{self.folder}: {len(self.utt_id)} utterances, {self.length.sum()} frames"
            f" of width {layers}{self.width}, {len(self.failures)} failures"
        )

    def span(self, record: int) -> tuple[int, int]:
        """Where a record's sound was cut, as samples[start:stop]; (0, 0) if not."""
        if self._start is None or self._stop is None:
            return 0, 0
        return int(self._start[record]), int(self._stop[record])

    def read(self, records: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The frames [T_i, D] or [T_i, L, D] float16 of these records, in order.

        They are not to be written to.

        Raises:
          ValueError: if a record is another utterance's than the index says, or holds
            a number that is not finite.
        """
        with reading(self.folder, self.folder):
            raw = self._source.__getitems__([int(r) for r in records])
            examples = [decode(record, self.shape) for record in raw]
        for record, (utt_id, frames) in zip(records, examples, strict=True):
            if utt_id != self.utt_id[record]:
                raise ValueError(
                    f"{self.folder}: record {record} is {utt_id!r},"
                    f" index.npz says {self.utt_id[record]!r}. Extract again."
                )
            if not _is_finite(frames):
                raise ValueError(
                    f"{self.folder}: the frames of {self.utt_id[record]!r} are not all"
                    f" finite. Remove {self.folder.parent} and run jser extract again."
                )
        return [frames[: self._most] for _, frames in examples]


def _is_finite(frames: np.ndarray) -> bool:
    """Whether no float16 is NaN or infinite; 16 times as fast as NumPy tells it."""
    exponent = 0x7C00  # All bits of it are set in those that are not finite.
    return int((frames.view(np.uint16) & 0x7FFF).max(initial=0)) < exponent


def dataset_folder(root: pathlib.Path, corpus: str, front_end: str) -> pathlib.Path:
    """Where the features of a corpus by a front end lie."""
    return root / corpus / front_end / VERSION


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a dataset.

    Raises:
      FileNotFoundError: if there is no dataset, with the remedy.
    """
    if not (folder / "manifest.json").exists():
        raise FileNotFoundError(
            f"{folder}: no features. Make them with jser extract"
            f" {_flags_of(folder.parent.name, is_array=not _is_known(folder))}."
        )
    path = folder / "manifest.json"
    manifest = files.read_record(path, remedy=_remedy(folder))
    with reading(folder, path):
        files.expect(manifest, {"spec": dict, "shards": dict, "failures": dict})
        files.expect(manifest["spec"], {"kind": str, "width": int, "layers": int})
        files.expect(manifest["shards"], dict.fromkeys(manifest["shards"], int))
        files.expect(manifest["failures"], dict.fromkeys(manifest["failures"], str))
    return manifest


def _is_known(folder: pathlib.Path) -> bool:
    """Whether a dataset's name is of a front end of ours."""
    known = {*frontends.FRONT_ENDS, *frontends.PRETRAINED}
    return FeatureName.parse(folder.parent.name).front_end in known


def _flags_of(name: str, *, is_array: bool) -> str:
    """How `jser extract` is told to make features of that name."""
    if is_array:
        return f"--frontend array --name {name} --source WHERE --kind speech|text"
    return f"--frontend {name}"


def read_index(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The columns of a dataset's `index.npz`, a row for each record.

    Raises:
      ValueError: if it is damaged, with the remedy.
    """
    path = folder / "index.npz"
    with reading(folder, path):
        columns = archives.read_npz(path)
        newer = [c for c in ("content", "start", "stop") if c in columns]
        there = ("utt_id", "digest", "length", *newer)
        shards.refuse_odd_columns({c: columns[c] for c in there})
    return columns


def open_builder(folder: pathlib.Path) -> Any:
    """TFDS's builder of a dataset, by its `dataset_info.json` and `features.json`.

    Raises:
      ValueError: if one is damaged, with the remedy.
    """
    import tensorflow_datasets as tfds

    path = folder / "features.json"
    described = files.read_json(path, _remedy(folder))
    with reading(folder, path):
        _refuse_other_layout(described)
    path = folder / "dataset_info.json"
    files.read_json(path, _remedy(folder))
    with reading(folder, path):
        return tfds.builder_from_directory(str(folder))


def _refuse_other_layout(described: Any) -> None:
    """Raises ValueError unless a record is what we write.

    TFDS imports the classes that a description names; here those are its own alone.
    """
    features = described["featuresDict"]["features"]
    tensor = features["frames"]["tensor"]
    for feature in (described, *features.values()):
        name = feature["pythonClassName"]
        if not name.startswith(_FEATURES):
            raise ValueError(f"a feature of the class {name!r}")
    if set(features) != {"utt_id", "frames"} or set(features["utt_id"]["text"]):
        raise ValueError("other columns than utt_id and frames")
    if (tensor["dtype"], tensor["encoding"]) != ("float16", "bytes"):
        raise ValueError("frames that are not float16")


def reading(
    folder: pathlib.Path, path: pathlib.Path
) -> contextlib.AbstractContextManager[None]:
    """`files.reading` of something in a dataset, with the remedy of all of it."""
    return files.reading(path, _remedy(folder))


def _remedy(folder: pathlib.Path) -> str:
    return f"Remove {folder.parent} and run jser extract again."


def spec_of(root: pathlib.Path, corpus: str, front_end: str) -> dict[str, Any]:
    """What made the features of a corpus; its fields are those of `frontends.Spec`.

    Raises:
      FileNotFoundError: if there are none, with the remedy.
    """
    return read_manifest(dataset_folder(root, corpus, front_end))["spec"]


def open_streams(
    root: pathlib.Path,
    corpus: str,
    streams: Mapping[str, str],
    longest_s: float = 0.0,
) -> dict[str, FeatureSet]:
    """Opens each stream's features; of sound the first `longest_s`, or all of it.

    Features of a front end with weights may be of any weights, layer or dtype: a run
    records which, and none of them is at hand where one only trains.

    Raises:
      ValueError: if the features are another version's than the front end's today.
    """
    opened = {}
    for stream, name in streams.items():
        most = round(longest_s * audio.SAMPLE_RATE_HZ) if is_sound(name) else 0
        features = FeatureSet(dataset_folder(root, corpus, name), most)
        if features.cut:
            logging.info(
                "%s: of %d of %d utterances the first %g s alone are read.",
                *(features.folder, features.cut, len(features.length), longest_s),
            )
        _refuse_other_version(features, name)
        opened[stream] = features
    return opened


def _refuse_other_version(features: FeatureSet, name: str) -> None:
    """Raises ValueError if they are another version's than the name's today."""
    if features.spec["name"] == frontends.ARRAY:
        return  # Of one's own; there is no other version.
    if features.spec.get("weights"):
        _refuse_other_fields(features, frontends.identity(name))
    else:
        refuse_other_spec(features, frontends.get(name).spec)


def refuse_other_spec(features: FeatureSet, spec: frontends.Spec) -> None:
    """Raises ValueError, with both values, if another front end made `features`."""
    gone = dict.fromkeys(features.spec)
    _refuse_other_fields(features, gone | dataclasses.asdict(spec))


def is_of(made: Mapping[str, Any], spec: frontends.Spec) -> bool:
    """Whether a manifest's spec says that features are of this front end."""
    want = dataclasses.asdict(spec)
    return all(_field(made, name) == want.get(name) for name in {*made, *want})


def _field(made: Mapping[str, Any], name: str) -> Any:
    """A field of a manifest's spec; one that is newer than it has its default."""
    default = {f.name: f.default for f in dataclasses.fields(frontends.Spec)}
    return made.get(name, default.get(name))


def _refuse_other_fields(features: FeatureSet, want: Mapping[str, Any]) -> None:
    beside = ""
    if features.spec["name"] in frontends.PRETRAINED:
        named = FeatureName.parse(features.folder.parent.name)
        tagged = dataclasses.replace(
            named, tag=f"{named.tag}2" if named.tag else "mine"
        )
        beside = f" To keep both, give one a tag: --frontend {tagged}."
    for field, now in want.items():
        then = _field(features.spec, field)
        if then != now:
            raise ValueError(
                f"{features.folder}: made with {field}={then!r}, now it is {now!r}."
                f" Remove {features.folder.parent} and run jser extract again.{beside}"
            )


def is_of_table(features: FeatureSet, table: Table) -> bool:
    """Whether there are frames of exactly the utterances, of what they have now.

    One that could not be encoded is there as a failure, of the same input.
    """
    made = dict(zip(features.utt_id, features.digest, strict=True))
    now = {
        u.utt_id: tables.input_digest(u, features.spec["kind"])
        for u in table.utterances
    }
    # Those that failed before their inputs were kept fail as they did.
    failed = {u: features.failed_inputs.get(u, now.get(u)) for u in features.failures}
    return made | failed == now


def refuse_other_inputs(
    table: Table, rows: Sequence[Utterance], features: FeatureSet
) -> None:
    """Raises ValueError unless all rows have frames, made of what the table has now."""
    is_array = features.spec["name"] == frontends.ARRAY
    flags = _flags_of(features.folder.parent.name, is_array=is_array)
    if features.spec.get("weights"):
        flags += ", with its flags of before"
    remedy = (
        f"Run jser extract --table {table.folder} {flags}; it encodes only what is new."
    )
    missing = [u.utt_id for u in rows if u.utt_id not in features.record]
    if missing:
        raise ValueError(
            f"{features.folder}: no frames for {len(missing)} utterances of"
            f" {table.folder}, e.g. {missing[0]!r}. {remedy}"
        )
    for u in rows:
        now = tables.input_digest(u, features.spec["kind"])
        then = features.digest[features.record[u.utt_id]]
        if now != then:
            what = "sound" if features.spec["kind"] == "speech" else "transcript"
            raise ValueError(
                f"{features.folder}: the frames of {u.utt_id!r} were made from another"
                f" {what} (digest {then}) than the table's ({now}). {remedy}"
            )
