"""Warm start: the parameters of a new run from the best checkpoint of another."""

import pathlib

from jser.config import Experiment
from jser.ensemble import provenance, run_config
from jser.roots import Roots
from jser.training import tuned
from jser.training.checkpoints import Checkpoints
from jser.training.predict import best_step
from jser.training.setup import TrainingSetup
from jser.training.tuned import TunedEncoder


def source_of(experiment: Experiment, roots: Roots) -> pathlib.Path | None:
    """Folder of the run that the field `init_from` names: of the same folds.

    Raises:
      FileNotFoundError: if there is none, with what makes it.
    """
    name = experiment.init_from
    if not name:
        return None
    workdir = roots.runs / name / roots.folds(experiment)
    if not (workdir / "config.json").exists():
        holdout = ",".join(map(str, experiment.data.holdout))
        folds = f' --config.data.holdout="({holdout},)"' if holdout else ""
        raise FileNotFoundError(
            f"{workdir}: no run there, and init_from names it. jser train makes it of"
            f" the config that is called so{folds}; of an ensemble's members jser run"
            " trains it first."
        )
    return workdir


def start_from(
    source: pathlib.Path, setup: TrainingSetup, encoder: TunedEncoder | None = None
) -> tuple[TrainingSetup, str]:
    """A setup that starts with the parameters and normalisation statistics of a run.

    Its optimiser is fresh, and its step is 0.

    Args:
      source: Folder of the run. Where an encoder learns, of the same network and
        encoder, or of that network on frames that the encoder made and left stored.
      setup: Of the new run.
      encoder: That learns, if one does.

    Returns:
      The setup, and what names the run and its best checkpoint.

    Raises:
      FileNotFoundError: if there is no run, or no checkpoint of it.
      ValueError: if its network or front ends are others, field by field, or if it
        learned from utterances that this run leaves out.
    """
    experiment, specs = setup.experiment, dict(setup.corpus.specs)
    other, metadata = run_config.read(source)
    if encoder and other.tune.encoder:
        tuned.refuse_other(source, metadata["encoder"], encoder)
    if encoder and not other.tune.encoder:
        experiment = tuned.on_stored_frames(experiment)
        stream, now = tuned.stream_of(setup.experiment), encoder.spec.described()
        stored = metadata["front_ends"].get(stream, {})
        known = ("name", "weights", "context", "layer", "compat")
        same = all(stored.get(k) == now.get(k) for k in known)
        specs[stream] = stored if same else now
    run_config.refuse_other_network(source, experiment, setup.corpus, specs)
    with Checkpoints(source) as saved:
        variables = saved.load_variables(best_step(saved))
    return setup.started_with(variables), provenance.made_by(source)
