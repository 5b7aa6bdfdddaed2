"""Class weights of the loss."""

from jaxtyping import Float
import numpy as np

from jser.config import Experiment


def class_weights(
    emotions: Float[np.ndarray, "N C"], labels: tuple[str, ...], experiment: Experiment
) -> np.ndarray:
    """(N / (C n_c))^exponent by class, or ones if they are off.

    With an exponent of 1 it is equation 3 of the paper; 0.5 is what the winners of the
    challenge of 2025 took. Of soft targets n_c is the sum of the shares.

    Args:
      emotions: Targets of the utterances trained on.
      labels: The label set.
      experiment: Says which split, whether and how sharply.

    Raises:
      ValueError: if a class has no utterance among those trained on.
    """
    count = class_counts(emotions)
    if absent := [name for name, n in zip(labels, count, strict=True) if n == 0]:
        raise ValueError(
            f"no utterance to train on of {', '.join(absent)} in split"
            f" {experiment.data.train_split!r} without the folds"
            f" {experiment.data.holdout}. Leave such classes out with"
            " jser prepare --keep, or hold out fewer folds; what raters said is learned"
            " with loss.soft_labels."
        )
    if not experiment.loss.class_weights:
        return np.ones(len(labels), np.float32)
    exponent = experiment.loss.weight_exponent
    return weights_of(count) if exponent == 1 else weights_of(count) ** exponent


def class_counts(emotions: Float[np.ndarray, "N C"]) -> Float[np.ndarray, " C"]:
    """n_c: utterances of each class, or the sum of their shares in it."""
    return emotions.sum(axis=0, dtype=np.float64)


def weights_of(count: np.ndarray) -> np.ndarray:
    """N / (C n_c) of the utterances per class [C]."""
    return (count.sum() / (len(count) * count)).astype(np.float32)
