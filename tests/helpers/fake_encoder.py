"""A front end with "weights" that is quick to compute, and a corpus of noise for it.

`python -m tests.helpers.fake_encoder TABLE FEATURES I N SECONDS LOG` extracts share I
of N with it, so many seconds an utterance, and logs each that it encodes.
"""

import dataclasses
import functools
import pathlib
import sys
import time

import numpy as np
import soundfile

from jser import files
from jser.corpora import tables
from jser.features import frontends, shards, store
from jser.features.extract import PartsMissing, extract

WIDTH = 4
SPEC = frontends.Spec(
    name="fake",
    kind="speech",
    width=WIDTH,
    frames_per_s=50,
    model="nobody/fake-tiny",
    layer="last",
    weights="0123456789abcdef",
    dtype="float32",
    backend="jax",
)


class Encoder:
    """A frame of L x 4 of every 320 samples, whatever the other inputs."""

    compiled = 3

    def __init__(self, spec: frontends.Spec, seconds: float, log: str):
        self._spec, self._seconds, self._log = spec, seconds, log

    def __call__(self, inputs, on_done=None):
        frames: list = [None] * len(inputs)
        for i in np.argsort([len(x) for x in inputs], kind="stable"):
            time.sleep(self._seconds)
            if self._log:
                with open(self._log, "a") as f:
                    f.write("one\n")
            frames[i] = self._encode(inputs[i])
            if on_done is not None:
                on_done(1)
        return frames

    def _encode(self, x) -> np.ndarray:
        if self._spec.kind == "text":
            x = np.concatenate([np.full(320, len(word)) for word in x.split()])
        L = self._spec.layers
        n = len(x) // 320
        windows = x[: n * 320].reshape(n, 320)[:, : L * WIDTH].astype(np.float32)
        return windows.reshape(n, L, WIDTH) if L > 1 else windows


def front_end(seconds: float = 0.0, log: str = "", **fields) -> frontends.FrontEnd:
    spec = dataclasses.replace(SPEC, **fields)
    return frontends.FrontEnd(
        spec, functools.partial(Encoder, spec, seconds, log), spec.name
    )


def corpus(folder: pathlib.Path, count: int) -> tables.Table:
    """A table of `count` short noises and as many transcripts, of all lengths."""
    rng = np.random.default_rng(0)
    (folder / "sounds").mkdir(parents=True)
    rows = []
    for i in range(count):
        name = f"u{i:03d}"
        sound = 0.1 * rng.standard_normal(int(rng.integers(400, 3200)))
        path = folder / "sounds" / f"{name}.wav"
        soundfile.write(path, sound, 16_000)
        rows.append(
            tables.Utterance(
                utt_id=name,
                file=path.name,
                emotion=("angry", "sad")[i % 2],
                split="train",
                transcript=" ".join(["word"] * (1 + i % 5)),
                seconds=len(sound) / 16_000,
                sha256=files.file_digest(path),
            )
        )
    table = tables.Table(
        utterances=tuple(rows), labels=("angry", "sad"), audio_root="sounds"
    )
    return tables.write(table, folder)


def encode_noise(table, root, given=None, **options) -> store.FeatureSet:
    """Extracts `given`, or else the front end of this module."""
    return extract(table, given or front_end(), root, workers=2, **options)


def records(found: store.FeatureSet) -> dict[str, tuple]:
    """Digest, shape and bytes of every utterance's frames."""
    everything = found.read(np.arange(len(found.utt_id)))
    return {
        u: (digest, frames.shape, frames.tobytes())
        for u, digest, frames in zip(
            found.utt_id, found.digest, everything, strict=True
        )
    }


def encoded(log: pathlib.Path) -> int:
    """How many utterances were encoded, by the log of `front_end`."""
    return len(log.read_text().splitlines()) if log.exists() else 0


def main() -> None:
    shards._BATCH = 1  # Many shards of few utterances.
    table, root, i, n, seconds, log = sys.argv[1:]
    print("started", flush=True)
    try:
        extract(
            tables.read(pathlib.Path(table)),
            front_end(float(seconds), log),
            pathlib.Path(root),
            workers=1,
            share=(int(i), int(n)),
        )
    except PartsMissing as e:
        print(e)


if __name__ == "__main__":
    main()
