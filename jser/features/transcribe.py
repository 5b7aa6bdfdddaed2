"""Whisper's transcripts in the table. See docs/transcribe.md."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
import concurrent.futures
import dataclasses
import math
import pathlib
import shutil
import time

import numpy as np
from tqdm import tqdm

from jser import audio, files
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.corpora.utterances import Utterance
from jser.encoders import transcriber, whisper
from jser.encoders.transcriber import Transcriber, Transcript, Window
from jser.features import frontends, shards, store, workers, writer
from jser.features.extract import TooManyFailures, extract
from jser.features.frontends import FrontEnd

_KEEP_S = 120  # Between chunks, of a run that may be cut.
_WINDOW_S = whisper.WINDOW_SAMPLES / audio.SAMPLE_RATE_HZ
_READERS = 4  # Threads that decode sounds,
_READ_AHEAD = 64  # and how many utterances they are ahead at most.


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run of `transcribe` did."""

    table: Table  # As it is now.
    source: str  # What `transcript_source` says of the new transcripts.
    transcripts: dict[str, Transcript]  # By utt_id, those that are new.
    failures: dict[str, str]  # By utt_id, why there is none.

    def __str__(self) -> str:
        notes = Counter(t.note for t in self.transcripts.values())
        marks = (f"{notes[note]} {note}" for note in transcriber.NOTES)
        counts = Counter(t.language for t in self.transcripts.values() if t.language)
        languages = ", ".join(f"{n} {code}" for code, n in counts.most_common())
        made, failed = len(self.transcripts), len(self.failures)
        return (
            f"{made} utterances transcribed by {self.source}: {', '.join(marks)},"
            f" {failed} failures"
            + (f"; languages: {languages}" if languages else "")
            + f"; {len(self.table.utterances) - made - failed} keep what they had"
        )


def transcribe(
    table: Table,
    *,
    weights: str,
    language: str | None = None,
    everything: bool = False,
    batch_size: int = 16,
    dtype: str = "float32",
    context: str = "full",
    cut: str = transcriber.FIXED,
    max_failures: int = 0,
    also: tuple[str, pathlib.Path] | None = None,
) -> Summary:
    """Fills the transcripts of a table, and writes it anew.

    Finished utterances are kept beside the table in `transcripts-*` until it is
    written, so that a run that was killed loses no more than its last ones.

    Args:
      table: The utterances.
      weights: See `Transcriber`, as `language`, `batch_size`, `dtype` and `context`.
      language: Of all utterances.
      everything: Transcribes all utterances, otherwise those without a transcript; one
        that is empty but has a `transcript_source` counts as one.
      batch_size: Windows.
      dtype: Of the computation.
      context: What the encoder reads.
      cut: Where sounds over 30 s are cut, one of `transcriber.CUTS`.
      max_failures: How many utterances may fail. They are listed in
        `transcribe_failures.csv` and keep what they had.
      also: Name of a Whisper front end and the folder of all features: its features are
        made as well, by the same pass of the encoder where no sound of a shard is over
        30 s and all are transcribed.

    Raises:
      run.TooManyFailures: if more fail; what was transcribed is kept for the next run.
      FileNotFoundError: if the checkpoint is not there.
      ValueError: if it cannot be used, or if the table changed meanwhile.
    """
    rows = [
        u
        for u in table.utterances
        if everything or not (u.transcript or u.transcript_source)
    ]
    front_end = _front_end(also[0], weights, dtype, context) if also else None
    model = Transcriber(
        weights,
        language=language,
        batch_size=batch_size,
        dtype=dtype,
        context=context,
        cut=cut,
    )
    chunks = table.folder / f"transcripts-{model.source.rpartition('@')[2]}"
    if front_end and also:
        _encode_too(table, rows, model, chunks, front_end, also[1])
    failures = _transcribe_all(table, rows, model, chunks)
    _refuse_failures(table, failures, len(rows), max_failures)
    done = _read_chunks(chunks)
    new = {u.utt_id: done[_key(u)] for u in rows if u.utt_id not in failures}
    if tables.read(table.folder).fingerprint != table.fingerprint:
        raise ValueError(
            f"{table.folder}: the table was changed while it was transcribed. Run the"
            " same command again: what was transcribed is kept."
        )
    if front_end and also:  # Encodes what is left, and joins.
        extract(table, front_end, also[1], max_failures=max_failures)
    table = tables.write(_with(table, new, model.source), table.folder)
    shutil.rmtree(chunks, ignore_errors=True)
    return Summary(table, model.source, new, failures)


def _front_end(name: str, weights: str, dtype: str, context: str) -> FrontEnd:
    entries = frontends.PRETRAINED.values()
    known = [p.name for p in entries if p.model_type == "whisper"]
    if name not in known:
        raise ValueError(f"front end {name!r} is not one of {', '.join(known)}.")
    if context != "full":
        raise ValueError(
            f"context={context!r} makes transcripts alone, since it leaves more silence"
            f" than features do. Make those of {name} by jser extract."
        )
    # The decoder's states are those of 30 s, whatever the name has.
    return frontends.open(name, weights=weights, dtype=dtype, context=context)


def _encode_too(
    table: Table,
    rows: Sequence[Utterance],
    model: Transcriber,
    chunks: pathlib.Path,
    front_end: FrontEnd,
    root: pathlib.Path,
) -> None:
    """Writes the parts of shards, and chunks of what was heard in them.

    A shard whose part is there, or with an utterance that keeps its transcript or is
    longer than a window, is left to others. Pieces are written first: a cut between
    the two costs an encoding, not a transcript.
    """
    name = table.folder.resolve().name
    folder = store.dataset_folder(root, name, front_end.name)
    if folder.exists():
        return
    wanted = {u.utt_id for u in rows if (u.seconds or math.inf) <= _WINDOW_S}
    shared = [
        shard
        for shard in shards.cut(table, front_end.spec, folder.parent)
        if wanted.issuperset(u.utt_id for u in shard.rows) and not shard.path.exists()
    ]
    total = sum(len(shard.rows) for shard in shared)
    with tqdm(total=total, desc=f"{model.source} and frames") as progress:
        for shard, inputs in workers.read_ahead(shared, _READERS):
            there = zip(shard.rows, inputs, strict=True)
            sounds = {_key(u): x for u, x in there if isinstance(x, np.ndarray)}
            frames, transcripts = model.encode_and_transcribe(sounds.values())
            if sounds:
                _write_chunk(chunks, dict(zip(sounds, transcripts, strict=True)))
            shard.save(inputs, frames)
            progress.update(len(shard.rows))


def _transcribe_all(
    table: Table, rows: Sequence[Utterance], model: Transcriber, chunks: pathlib.Path
) -> dict[str, str]:
    """Writes chunks for all utterances that are in none; returns the failures."""
    done = _read_chunks(chunks)
    todo = [u for u in rows if _key(u) not in done]
    # Windows of a batch wait for the one that says most: keep like with like.
    todo.sort(key=lambda u: u.seconds or 0, reverse=True)
    failures: dict[str, str] = {}
    under_way: deque[Utterance] = deque()

    progress = _Progress(model, rows, todo)

    def sounds() -> Iterator[list[Window]]:
        for u, sound in _read_ahead(table, todo, model):
            if isinstance(sound, audio.AudioError):
                failures[u.utt_id] = str(sound)
                progress.leave_out(u)
            else:
                under_way.append(u)
                yield sound

    chunk: dict[str, Transcript] = {}
    kept_s = time.monotonic()
    with progress.bar:
        for transcript in model.transcribe(sounds()):
            chunk[_key(under_way.popleft())] = transcript
            progress.update()
            if time.monotonic() - kept_s >= _KEEP_S:
                _write_chunk(chunks, chunk)
                chunk, kept_s = {}, time.monotonic()
    if chunk:
        _write_chunk(chunks, chunk)
    return failures


class _Progress:
    """A bar of utterances, and the time left by what the encoder has still to read.

    That is padded: where all windows have 30 s, one that says little takes its time.
    """

    def __init__(
        self, model: Transcriber, rows: Sequence[Utterance], todo: Sequence[Utterance]
    ):
        done = len(rows) - len(todo)
        self.bar = tqdm(
            total=len(rows),
            initial=done,
            desc=model.source,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
        )
        self._model, self._began_s = model, time.monotonic()
        self._before_s = model.heard_s, model.compiling_s
        self._left_s = sum(map(self._padded_s, todo))

    def _padded_s(self, u: Utterance) -> float:
        samples = round((u.seconds or 0) * audio.SAMPLE_RATE_HZ)
        model = self._model
        lengths = transcriber.spectrogram_frames(samples, model.context, model.cut)
        return sum(lengths) / transcriber.FRAMES_PER_S

    def leave_out(self, u: Utterance) -> None:
        """One that cannot be read."""
        self._left_s -= self._padded_s(u)
        self.bar.update()

    def update(self) -> None:
        """One more is done, of a batch that is computed."""
        heard_s = self._model.heard_s - self._before_s[0]
        compiling_s = self._model.compiling_s - self._before_s[1]
        taken_s = time.monotonic() - self._began_s - compiling_s
        left_s = max(self._left_s - heard_s, 0) * taken_s / heard_s
        self.bar.set_postfix_str(f"{tqdm.format_interval(left_s)} left", refresh=False)
        self.bar.update()


def _read_ahead(
    table: Table, rows: Sequence[Utterance], model: Transcriber
) -> Iterator[tuple[Utterance, list[Window] | audio.AudioError]]:
    """The sounds, or why there is none, decoded in threads ahead of the device."""

    def read(u: Utterance) -> list[Window] | audio.AudioError:
        try:
            sound = audio.load(table.audio_path(u))
            return transcriber.windows(sound, model.bands, model.context, model.cut)
        except audio.AudioError as e:
            return e

    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[tuple[Utterance, concurrent.futures.Future]] = deque()
        for u in rows:
            ahead.append((u, pool.submit(read, u)))
            if len(ahead) > _READ_AHEAD:
                u, sound = ahead.popleft()
                yield u, sound.result()
        for u, sound in ahead:
            yield u, sound.result()


def _key(u: Utterance) -> str:
    return f"{u.sha256} {u.utt_id}"


def _write_chunk(folder: pathlib.Path, chunk: Mapping[str, Transcript]) -> None:
    path = folder / f"{files.digest(*chunk)}.json"
    files.write_json(path, {k: dataclasses.asdict(t) for k, t in chunk.items()})


def _read_chunks(folder: pathlib.Path) -> dict[str, Transcript]:
    done, remedy = {}, "Remove it and run jser transcribe again."
    for path in sorted(folder.glob("*.json")):
        chunk = files.read_json(path, remedy)
        with files.reading(path, remedy):
            files.expect(chunk, dict.fromkeys(chunk, dict))
            for key, fields in chunk.items():
                files.expect(fields, dict.fromkeys(fields, str))
                done[key] = Transcript(**fields)
    return done


def _refuse_failures(
    table: Table, failures: Mapping[str, str], rows: int, max_failures: int
) -> None:
    listed = table.folder / "transcribe_failures.csv"
    if not failures:
        listed.unlink(missing_ok=True)
        return
    writer.write_failures(listed, failures)
    utt_id, reason = next(iter(failures.items()))
    if len(failures) > max_failures:
        raise TooManyFailures(
            f"{len(failures)} utterances could not be transcribed, e.g. {utt_id}:"
            f" {reason}. All are listed in {listed}. Mend the files and prepare the"
            f" table again, or go on without them: --max_failures={len(failures)}."
        )
    if len(failures) == rows:
        raise TooManyFailures(f"not one of {rows} utterances was transcribed.")


def _with(table: Table, new: Mapping[str, Transcript], source: str) -> Table:
    rows = [
        dataclasses.replace(
            u,
            transcript=new[u.utt_id].text,
            transcript_source=source,
            transcript_language=new[u.utt_id].language,
            transcript_note=new[u.utt_id].note,
        )
        if u.utt_id in new
        else u
        for u in table.utterances
    ]
    return dataclasses.replace(table, utterances=tuple(rows))
