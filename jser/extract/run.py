"""Table x front end -> features, shard by shard; resumes where it was cut."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import shutil

import numpy as np
from tqdm import tqdm

from jser import files
from jser.corpora import table as tables
from jser.corpora.table import Table, Utterance
from jser.data import features
from jser.data.features import FeatureSet, Part
from jser.extract import audio, frontends

_UTTERANCES_PER_SHARD = 256
_LEAST_SHARDS = 16  # So that few utterances too keep all cores busy.


class TooManyFailures(Exception):
    """More utterances could not be encoded than were allowed."""


def extract(
    table: Table,
    front_end: str,
    root: pathlib.Path,
    *,
    workers: int | None = None,
    max_failures: int = 0,
) -> FeatureSet:
    """Encodes every utterance of the table, unless that was done before.

    Each finished shard is kept in `<corpus>/<front end>/parts-*` until the dataset is
    complete, so that a run that was killed loses no more than the shards in flight.

    Args:
      table: The utterances; the corpus is named as the table's folder.
      front_end: A name of `frontends.FRONT_ENDS`.
      root: Folder of all features.
      workers: Processes; all cores when None.
      max_failures: How many utterances may fail. They are listed in `failures.csv`
        and left out of training, counted.

    Raises:
      TooManyFailures: if more fail; what was encoded is kept for the next run.
      ValueError: if features are there that were made otherwise, or from other inputs.
    """
    corpus, spec = table.folder.resolve().name, frontends.get(front_end).spec
    folder = features.dataset_folder(root, corpus, front_end)
    if (folder / "manifest.json").exists():
        found = FeatureSet(folder)
        features.refuse_other_spec(found, spec)
        features.join(table, table.utterances, {"": found})
        return found

    jobs = _jobs(table, spec, folder.parent)
    _encode_all(jobs, workers)
    failures = {}
    for job in jobs:
        failures |= Part.load(job.path, frames=False).failures
    if len(failures) > max_failures:
        listed = folder.parent / "failures.csv"
        features.write_failures(listed, failures)
        utt_id, reason = next(iter(failures.items()))
        raise TooManyFailures(
            f"{len(failures)} utterances could not be encoded, e.g. {utt_id}: {reason}."
            f" All are listed in {listed}. Mend the files and prepare the table again,"
            f" or go on without them: --max_failures={len(failures)}."
        )
    if len(failures) == len(table.utterances):
        raise TooManyFailures(f"not one of {len(failures)} utterances was encoded.")
    found = features.write(root, corpus, spec, [job.path for job in jobs])
    for leftover in (
        *folder.parent.glob("parts-*"),
        *folder.parent.glob("incomplete*"),
    ):
        shutil.rmtree(leftover)
    (folder.parent / "failures.csv").unlink(missing_ok=True)
    return found


class _Job:
    """One shard's work: its utterances, what they are read from, where they go."""

    def __init__(self, table: Table, spec: frontends.Spec, rows, path: pathlib.Path):
        self.spec, self.rows, self.path = spec, rows, path
        self.inputs = [
            table.audio_path(u) if spec.kind == "speech" else u.transcript for u in rows
        ]

    def run(self) -> int:
        """Encodes the shard, writes its part, returns how many utterances it has."""
        encode = frontends.get(self.spec.name).load()
        done, lengths, frames, failures = [], [], [], {}
        for u, source in zip(self.rows, self.inputs, strict=True):
            try:
                item = audio.load(source) if self.spec.kind == "speech" else source
            except audio.AudioError as e:
                failures[u.utt_id] = str(e)
                continue
            (encoded,) = encode([item])
            half = encoded.astype(np.float16)
            if not np.isfinite(half).all():
                failures[u.utt_id] = f"{self.spec.name} made frames that are not finite"
                continue
            done.append(u)
            lengths.append(len(half))
            frames.append(half)
        Part(
            utt_id=np.array([u.utt_id for u in done], str),
            digest=np.array([_digest(u, self.spec) for u in done], str),
            length=np.array(lengths, np.int32),
            frames=np.concatenate(frames) if frames else np.zeros((0, 0), np.float16),
            failures=failures,
        ).save(self.path)
        return len(self.rows)


def _digest(u: Utterance, spec: frontends.Spec) -> str:
    return tables.input_digest(u, spec.kind)


def _jobs(table: Table, spec: frontends.Spec, folder: pathlib.Path) -> list[_Job]:
    """Cuts the table into shards; parts are named by all that decides their content."""
    rows = table.utterances
    shards = max(-(-len(rows) // _UTTERANCES_PER_SHARD), min(_LEAST_SHARDS, len(rows)))
    made_by = files.digest(
        repr(spec), *(f"{u.utt_id} {_digest(u, spec)}" for u in rows)
    )
    parts = folder / f"parts-{made_by}"
    return [
        _Job(
            table,
            spec,
            [rows[i] for i in chunk],
            parts / f"part-{k:05d}-of-{shards:05d}.npz",
        )
        for k, chunk in enumerate(np.array_split(np.arange(len(rows)), shards))
    ]


def _encode_all(jobs: list[_Job], workers: int | None) -> None:
    todo = [job for job in jobs if not job.path.exists()]
    name, total = jobs[0].spec.name, sum(len(job.rows) for job in jobs)
    done = total - sum(len(job.rows) for job in todo)
    with tqdm(total=total, initial=done, desc=name, unit="utterance") as progress:
        if jobs[0].spec.kind == "text":  # Too quick to be worth another process.
            for job in todo:
                progress.update(job.run())
            return
        workers = workers or os.cpu_count() or 1
        context = multiprocessing.get_context("spawn")  # Forking under JAX can hang.
        with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
            futures = [pool.submit(job.run) for job in todo]
            for future in concurrent.futures.as_completed(futures):
                progress.update(future.result())
