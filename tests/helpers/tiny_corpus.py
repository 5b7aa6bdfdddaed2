"""A corpus of tones, small enough for every test, and an experiment that fits it."""

import csv
import dataclasses
import pathlib

import numpy as np
import soundfile

from jser.config import Data, Experiment, Model, Optim
from jser.roots import Roots

EMOTIONS = ("angry", "sad", "neutral")
SPLITS = {"a": "train", "b": "train", "c": "train", "d": "dev", "e": "test"}


def tone(hz: float, seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def make(folder: pathlib.Path) -> pathlib.Path:
    """Writes the sounds and a CSV; returns the CSV's path."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for speaker, split in SPLITS.items():
        for k, emotion in enumerate(EMOTIONS):
            for take in range(4):
                name = f"{speaker}_{emotion}_{take}.wav"
                hz = 150 + 120 * k + 20 * rng.standard_normal()
                sound = tone(hz, rng.uniform(0.2, 0.9))
                noise = 0.05 * rng.standard_normal(len(sound))
                soundfile.write(folder / name, sound + noise, 16_000)
                text = " ".join([emotion] * (take + 1))
                rows.append((name, emotion, speaker, split, text))
    path = folder / "small.csv"
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(("file", "emotion", "speaker", "split", "transcript"))
        writer.writerows(rows)
    return path


def experiment(**streams: str) -> Experiment:
    """Three epochs of three batches; no augmentation."""
    return Experiment(
        name="small",
        data=Data(
            corpus="small",
            streams=streams or {"speech": "logmel", "text": "char_ngrams"},
            batch_size=16,
            length_buckets=2,
            shuffle_window=2,
        ),
        model=Model(hidden=8, dropout=0.3),
        optim=Optim(lr=1e-3, final_lr=1e-5, schedule="step"),
        epochs=3,
        log_every=1,
    ).check()


def elsewhere(roots: Roots, runs: pathlib.Path) -> Roots:
    """The same data with runs of one's own."""
    return dataclasses.replace(roots, runs=runs)
