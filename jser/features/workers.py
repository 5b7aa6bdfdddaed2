"""Who encodes the shards: processes, or one process that keeps its device busy."""

import collections
from collections.abc import Generator, Sequence
import concurrent.futures
import contextlib
import multiprocessing
import os
import time

import numpy as np
from tqdm import tqdm

from jser import audio, processes
from jser.features import frontends
from jser.features.frontends import FrontEnd
from jser.features.shards import Input, Shard, Trimmed

_SHARDS_AHEAD = 1  # Read while one is encoded.


def encode(
    shards: Sequence[Shard],
    front_end: FrontEnd,
    *,
    workers: int | None,
) -> None:
    """Encodes the shards whose part is not there yet.

    Args:
      shards: Those of this run.
      front_end: One with weights is loaded once, in this process. Those without are
        cheap and get a process a core, where each is found by its name.
      workers: Processes, or threads that read sound; a core each when None.
    """
    todo = [shard for shard in shards if not shard.path.exists()]
    if not todo:
        return
    workers = workers or os.cpu_count() or 1
    total, left = (sum(len(s.rows) for s in some) for some in (shards, todo))
    reused = 0 if front_end.stored else sum(len(s.stored) for s in todo)
    with tqdm(
        total=total,
        initial=total - left,
        desc=f"{front_end.name}{f' ({reused} reused)' if reused else ''}",
        unit="utterance",
    ) as progress:
        if front_end.spec.weights and not front_end.stored:
            _encode_here(todo, front_end, workers, progress)
        elif front_end.spec.kind == "text" or front_end.stored:
            # Too quick to be worth another process.
            encoder = front_end.load()
            for shard in todo:
                progress.update(shard.run(encoder))
        else:
            _encode_in_processes(front_end.name, todo, workers, progress)


def _encode_in_processes(
    name: str, todo: Sequence[Shard], workers: int, progress: tqdm
) -> None:
    # librosa keeps compiled code on disk. Processes that make it at the same time, as
    # after an installation, leave it broken for good; so it is made here first.
    silence = np.zeros(audio.SAMPLE_RATE_HZ, np.float32)
    frontends.get(name).load()([silence])
    context = multiprocessing.get_context("spawn")  # Forking under JAX can hang.
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=processes.start_worker
    ) as pool:
        futures = [pool.submit(_run_by_name, name, shard) for shard in todo]
        for future in concurrent.futures.as_completed(futures):
            progress.update(future.result())


def _run_by_name(name: str, shard: Shard) -> int:
    return shard.run(frontends.get(name).load())


def _encode_here(
    todo: Sequence[Shard], front_end: FrontEnd, threads: int, progress: tqdm
) -> None:
    """One encoder; sound is read ahead of it, and parts are written behind it."""
    encoder = front_end.load()

    def tell(utterances: int) -> None:
        progress.update(utterances)

    seconds, start, done = 0.0, time.monotonic(), progress.n
    with (
        concurrent.futures.ThreadPoolExecutor(1) as writer,
        contextlib.closing(read_ahead(todo, threads)) as reads,
    ):
        written: list[concurrent.futures.Future[None]] = []
        for shard, inputs in reads:
            frames = shard.encode(encoder, inputs, tell)
            for earlier in written:
                earlier.result()  # So that no more than one shard waits in memory.
            written = [writer.submit(shard.save, inputs, frames)]
            done += len(shard.rows)
            progress.update(done - progress.n)  # The failed were not encoded.
            seconds += _seconds(inputs)
            rate = seconds / (time.monotonic() - start)
            told = f"{rate:.1f} audio-h/h, " if seconds else ""
            progress.set_postfix_str(f"{told}{encoder.compiled} compiled shapes")
        for last in written:
            last.result()


def _seconds(inputs: Sequence[Input]) -> float:
    sounds = (x.samples if isinstance(x, Trimmed) else x for x in inputs)
    samples = sum(len(x) for x in sounds if isinstance(x, np.ndarray))
    return samples / audio.SAMPLE_RATE_HZ


def read_ahead(
    todo: Sequence[Shard], threads: int
) -> Generator[tuple[Shard, list[Input]]]:
    """Each shard with its inputs, which threads read while the one before is used.

    Shards that another run has finished by then are left out.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    waiting: collections.deque[tuple[Shard, list]] = collections.deque()
    try:
        for shard in todo:
            if not shard.path.exists():
                rows = range(len(shard.rows))
                waiting.append((shard, [pool.submit(shard.read, r) for r in rows]))
            if len(waiting) > _SHARDS_AHEAD:
                first, reads = waiting.popleft()
                yield first, [r.result() for r in reads]
        for rest, reads in waiting:
            yield rest, [r.result() for r in reads]
    finally:
        pool.shutdown(cancel_futures=True)
