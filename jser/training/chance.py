"""Chance: whether a run ended no better than by answering the same to everything."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from absl import logging
import numpy as np
from scipy import optimize, special

from jser.config import Experiment
from jser.data import targets
from jser.ensemble import checkpoint_metrics
from jser.training import metrics_log
from jser.training.setup import TrainingSetup

# Below the constant's loss by less than this share, a run is no better: a constant
# answer can gain as much from how rare classes spread over batches.
MARGIN = 0.01


def constant_loss(setup: TrainingSetup) -> float:
    """The emotion loss of the best constant answer to the utterances of the last epoch.

    Under the run's own loss, class weights, sampler and label smoothing. Of
    cross-entropy it is the entropy of the weighted targets: ln C with class weights.
    """
    c, source = setup.experiment.loss, setup.source
    target_NC = targets.emotions(source.split, setup.corpus.table.labels, c)
    steps = range(len(source) - source.steps_per_epoch, len(source))
    target_NC = target_NC[np.concatenate([source.rows(i) for i in steps])].astype(float)
    smooth, C = c.label_smoothing, target_NC.shape[1]
    target_NC = (1 - smooth) * target_NC + smooth / C
    weight_C = np.asarray(setup.hyperparameters.class_weight, float)
    total = (weight_C * target_NC).sum()
    share_C = (weight_C * target_NC).sum(axis=0) / total
    gamma = c.focal_gamma if c.kind == "focal" else 0.0

    def loss(logits_C: np.ndarray) -> float:
        log_p = special.log_softmax(logits_C)
        return -(share_C * (1 - np.exp(log_p)) ** gamma * log_p).sum()

    least = optimize.minimize(loss, np.log(np.maximum(share_C, 1e-12))).fun
    if c.kind == "kl":  # Mixup lowers it further: that can hide a fault, not feign one.
        least += (weight_C * special.xlogy(target_NC, target_NC)).sum() / total
    if c.per_utterance:
        least *= total / len(target_NC)
    return float(least)


def faults(
    c: Experiment,
    lines: Sequence[Mapping[str, float]],
    best: Mapping[str, Any] | None,
) -> list[str]:
    """What says that a finished run has learned nothing, in words; often none.

    Args:
      c: The experiment.
      lines: Of its metrics.jsonl; those of earlier versions tell nothing.
      best: The metrics of its best checkpoint, if there is one.
    """
    found = []
    ends = [x for x in lines if {"train/loss", "train/constant_loss"} <= x.keys()]
    if ends:
        constant = ends[-1]["train/constant_loss"]
        if _last_loss(c, lines, ends[-1]["step"]) > (1 - MARGIN) * constant:
            found.append(
                "the training loss of the last epoch is no better than that of the best"
                " constant answer"
            )
    if best and best.get("most_predicted") == 1:
        found.append("all dev predictions are of one class")
    return found


def _last_loss(
    c: Experiment, lines: Sequence[Mapping[str, float]], end: float
) -> float:
    """Mean emotion loss over the steps of the last epoch, which ended at step `end`."""
    start = end - max(1, end // c.epochs)
    last = [x for x in lines if "train/loss" in x and x["step"] > start]
    steps = np.diff([start, *(x["step"] for x in last)])
    neutral = c.loss.neutral_weight
    loss = [
        x["train/emotion_loss"]
        if "train/emotion_loss" in x
        else x["train/loss"] - neutral * x.get("train/neutral_loss", 0)
        for x in last
    ]
    return float(np.average(loss, weights=steps))


def without(holdout: Sequence[int]) -> str:
    """`fold 3`, or `folds 0 and 3`."""
    numbers = " and ".join(map(str, holdout))
    return f"fold{'s' if len(holdout) > 1 else ''} {numbers}"


def advice(c: Experiment) -> str:
    """What to try with a run that has a fault, as fields to set."""
    raw = [s for s in c.data.streams if s not in c.data.standardize]
    every = ",".join((*c.data.standardize, *raw))
    scaled = f"--config.data.standardize={every}, " if raw else ""
    return f"Try {scaled}a lower or a higher --config.optim.lr."


def warn(c: Experiment, workdir: pathlib.Path) -> None:
    """Tells the faults of a run that has just come to its end, in the log."""
    lines = metrics_log.read(workdir / "metrics.jsonl")
    where = f" without {without(c.data.holdout)}" if c.data.holdout else ""
    for fault in faults(c, lines, checkpoint_metrics.best(workdir)):
        logging.warning("%s%s: %s. %s", c.name, where, fault, advice(c))
