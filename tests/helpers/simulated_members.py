"""What simulated members of an ensemble say, for whatever learns to combine them."""

import numpy as np

from jser.ensemble.logits import Logits

SPEAKERS, EACH, CLASSES = 6, 40, 3


def said(
    rng,
    *,
    skill: float = 2.0,
    in_sample: bool = False,
    speakers: int = SPEAKERS,
    each: int = EACH,
    classes: int = CLASSES,
) -> Logits:
    """What a member of some skill says; fold = speaker."""
    N = speakers * each
    label = np.tile(np.arange(classes), N)[:N]
    fold = np.repeat(np.arange(speakers), each)
    noise = rng.standard_normal((N, classes))
    return Logits(
        utt_id=np.array([f"u{k:05d}" for k in range(N)]),
        logits=(skill * np.eye(classes)[label] + noise).astype(np.float32),
        label=label,
        fold=fold,
        speaker=np.array([f"s{k}" for k in fold]),
        in_sample=np.full(N, in_sample),
        speaker_seen=np.full(N, in_sample),
        labels=np.array([f"emotion{c}" for c in range(classes)]),
        made_by=np.array([f"run{rng.integers(1e9)}@1"]),
    )
