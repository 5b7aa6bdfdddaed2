"""Warm start: the parameters of a new run from the best checkpoint of another."""

import dataclasses
import pathlib

from jser.ensemble import provenance, run_config
from jser.training.checkpoints import Checkpoints
from jser.training.predict import best_step
from jser.training.setup import TrainingSetup


def start_from(source: pathlib.Path, setup: TrainingSetup) -> tuple[TrainingSetup, str]:
    """A setup that starts with the parameters and normalisation statistics of a run.

    Its optimiser is fresh, and its step is 0.

    Returns:
      The setup, and what names the run and its best checkpoint.

    Raises:
      FileNotFoundError: if there is no run, or no checkpoint of it.
      ValueError: if its network or front ends are others, field by field, or if it
        learned from utterances that this run leaves out.
    """
    run_config.refuse_other_network(source, setup.experiment, setup.corpus)
    with Checkpoints(source) as saved:
        variables = saved.load_variables(best_step(saved))
    fresh = dataclasses.replace(setup.fresh, **variables)
    return dataclasses.replace(setup, fresh=fresh), provenance.made_by(source)
