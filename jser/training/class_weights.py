"""Class weights of the loss."""

import numpy as np

from jser.config import Experiment
from jser.data.split import Split


def class_weights(
    split: Split, labels: tuple[str, ...], experiment: Experiment
) -> np.ndarray:
    """N / (C n_c) by class (equation 3 of the paper), or ones if they are off.

    Raises:
      ValueError: if a class has no utterance among those trained on.
    """
    count = np.bincount(split.label, minlength=len(labels))
    if absent := [name for name, n in zip(labels, count, strict=True) if n == 0]:
        raise ValueError(
            f"no utterance to train on of {', '.join(absent)} in split"
            f" {experiment.data.train_split!r} without the folds"
            f" {experiment.data.holdout}. Leave such classes out with"
            " jser prepare --keep, or hold out fewer folds."
        )
    if not experiment.loss.class_weights:
        return np.ones(len(labels), np.float32)
    return weights_of(count)


def weights_of(count: np.ndarray) -> np.ndarray:
    """N / (C n_c) of the utterances per class [C]."""
    return (count.sum() / (len(count) * count)).astype(np.float32)
