"""Simulated systems on simulated splits, for whatever scores or draws them."""

import pathlib

import numpy as np

from jser.corpora import tables
from jser.corpora.utterances import Utterance
from jser.ensemble.logits import Logits
from jser.report import results

LABELS = ("angry", "sad", "<b>odd</b>")
SIZE = {"dev": 30, "test": 60}
SPEAKERS = {"dev": 3, "test": 6}


def _label(split: str, k: int) -> int:
    """All emotions alike in number; but dev has one more of the first than of others.

    Of test there is one balanced subset, of dev there are many.
    """
    return 0 if (split, k) == ("dev", 2) else k % 3


def said(rng, split: str = "test", *, skill: float = 0.0) -> Logits:
    """Logits that favour the label by `skill` standard deviations."""
    count = SIZE[split]
    label = np.array([_label(split, k) for k in range(count)])
    logits = rng.standard_normal((count, 3))
    logits[np.arange(count), label] += skill
    return Logits(
        utt_id=np.array([f"{split}{k:03d}" for k in range(count)]),
        logits=logits.astype(np.float32),
        label=label,
        fold=np.full(count, -1),
        speaker=np.array([f"{split}-s{k % SPEAKERS[split]}" for k in range(count)]),
        in_sample=np.zeros(count, bool),
        speaker_seen=np.zeros(count, bool),
        labels=np.array(LABELS),
        made_by=np.array(["0123456789abcdef@1"]),
    )


def table(folder: pathlib.Path) -> tables.Table:
    rows = tuple(
        Utterance(
            utt_id=f"{split}{k:03d}",
            file="x.wav",
            emotion=LABELS[_label(split, k)],
            split=split,
            speaker=f"{split}-s{k % SPEAKERS[split]}",
            gender="female" if k % SPEAKERS[split] else "male",
            seconds=1.0 + k % 5,
            transcript="" if k else "hello",
        )
        for split, n in SIZE.items()
        for k in range(n)
    )
    return tables.Table(
        utterances=rows,
        labels=LABELS,
        audio_root=".",
        source="csv",
        excluded={"no agreement (X)": 3},
        command="jser prepare --corpus csv --source x.csv --out mine",
        folder=folder / "mine",
    )


def inputs(folder: pathlib.Path) -> results.Inputs:
    """Two members that are seeds of one config, and two combinations of them."""
    rng = np.random.default_rng(0)
    systems = {
        name: {split: said(rng, split, skill=skill) for split in SIZE}
        for name, skill in (
            ("one_seed0", 0.5),
            ("one_seed1", 0.6),
            ("average", 1.0),
            ("forest", 1.2),
        )
    }
    curve = [{"step": k, "train/loss": 1 / k} for k in range(1, 9)]
    curve += [{"step": k, "dev/macro_f1": k / 10, "dev/uar": 0.2} for k in (4, 8)]
    return results.Inputs(
        name="ensemble_mine",
        table=table(folder),
        systems=systems,
        members=("one_seed0", "one_seed1"),
        curves={"one_seed0": curve, "one_seed1": []},
        commands=["jser run --config mine/ensemble_mine.py"],
        seeds={"one": ("one_seed0", "one_seed1")},
        stacker={
            "members": ["one_seed0", "one_seed1"],
            "scikit-learn": "1.7.0",
            "stacker": "oof",
            "seed": 42,
            "folds": {"-1": {"learned_from": "fedcba9876543210"}},
            "importance": [[0.1, 0.2, 0.05], [0.3, 0.25, 0.1]],
        },
        failures={"dev999": "logmel: <shorter> than a frame"},
        notes=["Beware of & the dog."],
    )
