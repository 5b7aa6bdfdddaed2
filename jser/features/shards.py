"""A table cut into shards, and the file that holds the encoded frames of one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import io
import pathlib

import numpy as np

from jser import archives, audio, files
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.features import trimming
from jser.features.frontends import Encoder, Spec

_MAX_UTTERANCES = 256
_MAX_SECONDS = 1800.0  # A shard of whole calls or lectures must fit in memory too.
_MIN_SHARDS = 16  # So that few utterances too keep all cores busy, or lose little.
_BATCH = 32  # Fewer utterances at once make poor batches where there are weights.
_MAX_LAYERS = 16  # L layers make shards of 1/L the size, but not below 1/16.


@dataclasses.dataclass(frozen=True)
class Trimmed:
    """A sound without the silence at its ends."""

    samples: np.ndarray
    start: int  # Samples that were cut before them.


@dataclasses.dataclass(frozen=True)
class Stored:
    """Frames that were encoded before."""

    frames: np.ndarray
    span: tuple[int, int] = (0, 0)  # Of the samples, if they were trimmed.


# Samples, a transcript, frames where neither is needed, or why there is none.
Input = np.ndarray | Trimmed | str | Stored | audio.AudioError
Read = Callable[[], Stored | audio.AudioError | None]  # None where they are damaged.


@dataclasses.dataclass(frozen=True)
class Part:
    """The encoded utterances of one shard, as extraction hands them over."""

    utt_id: np.ndarray  # Str, N.
    digest: np.ndarray  # Str, N; of each utterance's input.
    content: np.ndarray  # Str, N; digest of its frames.
    length: np.ndarray  # Int, N; frames of each.
    start: np.ndarray  # Int, N; where each sound was cut, in samples at 16 kHz, ...
    stop: np.ndarray  # ... and where its end was; 0 of those that were not.
    frames: np.ndarray  # Float16, (sum of length) D, or (sum of length) L D.
    failures: dict[str, str]  # utt_id to reason, of those that could not be encoded.

    def save(self, path: pathlib.Path) -> None:
        """Writes the part, whole or not at all."""
        out = io.BytesIO()
        columns = {c: getattr(self, c) for c in (*_COLUMNS, "frames")}
        failed = np.array(list(self.failures.items()), dtype=str).reshape(-1, 2)
        np.savez(out, allow_pickle=False, **columns, failures=failed)
        files.write_atomically(path, out.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path, *, frames: bool = True) -> "Part":
        """Reads a part that `save` wrote; without its frames if only the rest counts.

        Raises:
          ValueError: if the file is damaged.
        """
        with files.reading(path, "Remove it and run jser extract again."):
            data = archives.read_npz(path, leave=() if frames else ("frames",))
            columns = {c: data[c] for c in _COLUMNS}
            failures = {str(k): str(v) for k, v in data["failures"]}
            kept = data["frames"] if frames else np.zeros((0, 0), np.float16)
            refuse_odd_columns(columns)
            if frames and len(kept) != columns["length"].sum():
                raise ValueError(f"{len(kept)} frames")
        return cls(**columns, frames=kept, failures=failures)


_COLUMNS = ("utt_id", "digest", "content", "length", "start", "stop")
_NUMBERS = ("length", "start", "stop")


def refuse_odd_columns(columns: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError unless there is text, or a number, of each utterance."""
    for name, column in columns.items():
        kind = np.integer if name in _NUMBERS else np.str_
        if column.ndim != 1 or not np.issubdtype(column.dtype, kind):
            raise ValueError(f"{name} is of {column.dtype} {column.shape}")
        if len(column) != len(columns["utt_id"]):
            raise ValueError(f"{len(column)} of {name}")
        column.tolist()  # Which raises for what are no characters.
        if kind is np.integer and column.min(initial=0) < 0:
            raise ValueError(f"{name} below 0")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some utterances of a table, what they are read from, and where their part goes.

    Small enough to be sent to another process or machine.
    """

    spec: Spec
    rows: tuple[Utterance, ...]
    sounds: tuple[pathlib.Path, ...]  # One a row.
    path: pathlib.Path  # Of the part; named by all that decides its content.
    max_hours: float  # The longest sound.
    # How to read frames that need not be encoded, by utt_id; from `reuse.plan`.
    stored: Mapping[str, Read] = dataclasses.field(default_factory=dict, compare=False)

    def read(self, row: int) -> Input:
        """The input of one utterance or its stored frames, or why there is none.

        A sound file must still be the one that the table was made of, or else the
        features would bear the digest of another.
        """
        u, sound = self.rows[row], self.sounds[row]
        if u.utt_id in self.stored and (stored := self.stored[u.utt_id]()) is not None:
            return stored
        if self.spec.kind == "text":
            return u.transcript
        if not u.file:
            return audio.AudioError(u.utt_id, "missing", "the table has no sounds")
        try:
            samples = audio.load(sound, max_hours=self.max_hours)
            if u.sha256 and (now := files.file_digest(sound)) != u.sha256:
                detail = f"its digest is {now}, the table says {u.sha256}"
                raise audio.AudioError(sound, "changed", detail)
        except audio.AudioError as e:
            return e
        except OSError as e:  # Of the digest.
            return audio.AudioError(sound, "unreadable", e.strerror or str(e))
        if not self.spec.trimmed:
            return samples
        start, stop = trimming.speech_span(samples)
        return Trimmed(samples[start:stop], start)

    def encode(
        self,
        encode: Encoder,
        inputs: Sequence[Input],
        on_done: Callable[[int], None] | None = None,
    ) -> list[np.ndarray]:
        """The frames of those of the inputs that are to be encoded, in order."""
        good = [
            x.samples if isinstance(x, Trimmed) else x
            for x in inputs
            if not isinstance(x, audio.AudioError | Stored)
        ]
        if not good:
            return []
        try:
            frames = encode(good, on_done)
        except Exception as e:
            first, last = self.rows[0].utt_id, self.rows[-1].utt_id
            e.add_note(f"{self.spec.name} was encoding {first!r} to {last!r}.")
            raise
        layers = (self.spec.layers,) if self.spec.layers > 1 else ()
        want = (*layers, self.spec.width)
        if len(frames) != len(good) or any(x.shape[1:] != want for x in frames):
            raise ValueError(
                f"{self.spec.name} made {len(frames)} matrices of"
                f" {sorted({x.shape[1:] for x in frames})} a frame from {len(good)}"
                f" utterances; its spec says {want}."
            )
        return frames

    def save(self, inputs: Sequence[Input], frames: Sequence[np.ndarray]) -> None:
        """Writes the part of these inputs and of what `encode` made of them."""
        kept, halves, spans, failures = [], [], [], {}
        encoded = iter(frames)
        for u, given in zip(self.rows, inputs, strict=True):
            if isinstance(given, audio.AudioError):
                failures[u.utt_id] = str(given)
                continue
            made = given.frames if isinstance(given, Stored) else next(encoded)
            with np.errstate(over="ignore"):  # Said below, with the utterance's name.
                half = made.astype(np.float16)
            if not len(half):
                failures[u.utt_id] = f"{self.spec.name} made no frames"
            elif not np.isfinite(half).all():
                failures[u.utt_id] = f"{self.spec.name} made frames that are not finite"
            else:
                kept.append(u)
                halves.append(half)
                spans.append(_span(given))
        start, stop = np.array(spans, np.int64).reshape(-1, 2).T
        Part(
            utt_id=np.array([u.utt_id for u in kept], str),
            digest=np.array([self.digest(u) for u in kept], str),
            content=np.array([content_digest(x) for x in halves], str),
            length=np.array([len(x) for x in halves], np.int32),
            start=start,
            stop=stop,
            frames=np.concatenate(halves) if halves else np.zeros((0, 0), np.float16),
            failures=failures,
        ).save(self.path)

    def run(self, encode: Encoder) -> int:
        """Reads, encodes and writes the shard; returns how many utterances it has."""
        inputs = [self.read(row) for row in range(len(self.rows))]
        self.save(inputs, self.encode(encode, inputs))
        return len(self.rows)

    def digest(self, u: Utterance) -> str:
        """Digest of what the front end reads of an utterance."""
        return tables.input_digest(u, self.spec.kind)

    def load(self) -> Part:
        """The finished part, without its frames.

        Raises:
          ValueError: unless it holds each utterance of the shard once, as frames of
            today's input or as a failure.
        """
        part = Part.load(self.path, frames=False)
        made = dict(zip(part.utt_id.tolist(), part.digest.tolist(), strict=True))
        held = Counter([*part.utt_id.tolist(), *part.failures])
        for u in self.rows:
            times = held[u.utt_id]
            if times != 1 or made.get(u.utt_id, self.digest(u)) != self.digest(u):
                raise ValueError(
                    f"{self.path}: holds {u.utt_id!r} {times} times, made from input"
                    f" {made.get(u.utt_id)}; the table's is {self.digest(u)}. Remove it"
                    " and run jser extract again."
                )
        return part


def _span(given: Input) -> tuple[int, int]:
    """Where a sound was cut; (0, 0) of what was not."""
    if isinstance(given, Stored):
        return given.span
    if isinstance(given, Trimmed):
        return given.start, given.start + len(given.samples)
    return 0, 0


def content_digest(frames: np.ndarray) -> str:
    """Digest of one utterance's frames, shape and all."""
    return files.digest(repr(frames.shape), np.ascontiguousarray(frames).tobytes())


def cut(
    table: Table,
    spec: Spec,
    folder: pathlib.Path,
    *,
    max_hours: float = audio.MAX_HOURS,
) -> list[Shard]:
    """Cuts the table, in its order, into shards of at most 256 utterances and 30 min.

    The order is the table's, not that of length: every shard is then much like the
    next, so that the time left is told honestly and shards are alike in size; encoders
    sort within a shard. A part is named by the front end's spec and its own utterances'
    inputs alone: where some sounds were mended, only their shards are made again.

    Args:
      table: The utterances.
      spec: Of the front end.
      folder: Where the folder of the parts is to lie.
      max_hours: The longest sound; one that is longer is a failure.
    """
    less = min(spec.layers, _MAX_LAYERS)
    least = _BATCH if spec.weights else 1
    count = max(least, len(table.utterances) // _MIN_SHARDS)
    count = min(count, _MAX_UTTERANCES // less)
    cuts: list[list[Utterance]] = [[]]
    seconds = 0.0
    for u in table.utterances:
        seconds += u.seconds or 0.0
        if cuts[-1] and (len(cuts[-1]) == count or seconds > _MAX_SECONDS / less):
            cuts.append([])
            seconds = u.seconds or 0.0
        cuts[-1].append(u)
    parts = folder.absolute() / f"parts-{files.digest(repr(spec))}"
    shards = []
    for rows in cuts:
        inputs = (f"{u.utt_id} {tables.input_digest(u, spec.kind)}" for u in rows)
        sounds = tuple(table.audio_path(u).absolute() for u in rows)
        part = parts / f"{files.digest(*inputs)}.npz"
        shards.append(Shard(spec, tuple(rows), sounds, part, max_hours))
    return shards
