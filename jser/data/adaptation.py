"""Adaptation: frames scaled by statistics of whom they are of, without labels.

Transductive: what is predicted takes part in how it is predicted. docs/cross_corpus.md.
"""

from absl import logging

from jser.config import Experiment
from jser.config_rules import NONE, SPEAKER, TARGET

# What a reader must know of a system, by whose statistics it takes.
NOTES = {
    SPEAKER: (
        "Transductive: {} scales frames by the statistics of each speaker's utterances,"
        " those under test included, without labels. It needs several recordings of"
        " everyone, and does harm where a speaker's do not hold all emotions in like"
        " shares."
    ),
    TARGET: (
        "Transductive: {} scales frames by the statistics of all utterances that were"
        " predicted, without labels, in place of those of the training set."
    ),
}


def chosen(c: Experiment, asked: str | None) -> str:
    """Whose statistics a run predicts by: as asked, or else as it was trained.

    Raises:
      ValueError: if it cannot predict so, with what can be trained instead.
    """
    trained = c.data.adapt
    if asked in (None, trained):
        return trained
    if asked == SPEAKER:
        raise ValueError(
            f"--adapt {asked}: {c.name} was trained on frames that no speaker's"
            " statistics scale. Train it with --config.data.adapt=speaker."
        )
    if trained != NONE:
        raise ValueError(
            f"--adapt {asked}: {c.name} was trained with data.adapt {trained!r}, and"
            " always predicts so. Train one with --config.data.adapt=none."
        )
    if not c.data.standardize:
        raise ValueError(
            f"--adapt {asked}: {c.name} standardises no stream, so that no statistics"
            f" can be exchanged. Train it with --config.data.standardize="
            f"{','.join(c.data.streams)}."
        )
    return TARGET


def shown(c: Experiment, asked: str | None) -> tuple[str, ...]:
    """What a report shows side by side: as trained, and what was asked for, last.

    Raises:
      ValueError: as `chosen`.
    """
    return tuple(dict.fromkeys((c.data.adapt, chosen(c, asked))))


def warn(c: Experiment, adapt: str) -> None:
    """Says in the log what a reader of adapted numbers must know."""
    if adapt != NONE:
        logging.warning("%s", NOTES[adapt].format(c.name))


def system_name(name: str, adapt: str) -> str:
    """What a system is called beside others."""
    return name if adapt == NONE else f"{name}, {adapt} statistics (transductive)"
