"""Training of one ensemble member; rerun to resume. docs/run.md: what it leaves."""

from collections.abc import Sequence
import contextlib
import pathlib

from absl import logging
import jax

from jser import devices, locks, processes
from jser.config import Experiment
from jser.data import batches
from jser.data.corpus import open_corpus
from jser.ensemble import checkpoint_metrics, run_config
from jser.roots import Roots
from jser.training import chance, compilation, initialization, tuned
from jser.training.checkpoints import Checkpoints
from jser.training.metrics_log import MetricWriter
from jser.training.progress import PrefetchIterator, TrainingLogger
from jser.training.setup import TrainingSetup, reside
from jser.training.step import TrainState, jitted_step

_AGREE_EVERY = 16  # Steps: far less than the grace that an end leaves.


def train(
    experiment: Experiment,
    roots: Roots,
    workdir: pathlib.Path | None = None,
    *,
    stop_after: int | None = None,
    arguments: Sequence[str] = (),
    init_from: pathlib.Path | None = None,
    resident: bool = False,
) -> TrainState:
    """Trains to the end, from the last checkpoint in `workdir` if there is one.

    Args:
      experiment: A checked config.
      roots: Where tables, features and runs lie.
      workdir: Of this run; `roots.workdir` when None.
      stop_after: Stop at this step, as if cut there (for tests).
      arguments: What `jser train` was given, for a report to repeat.
      init_from: Folder of the run whose best checkpoint gives the first parameters and
        the normalisation statistics; its network and front ends must be the same. Also
        needed to resume.
      resident: Keep all frames on the devices, in place of sending each batch's.

    Returns:
      The last state. Equal, bit for bit, whether or not the run was cut and resumed.

    Raises:
      ValueError: if the config or table differs from the one being resumed, or a class
        has no utterance to train on; if frames cannot be `resident`.
      BlockingIOError: if another training is at work there.
      FloatingPointError: when the loss is not finite, naming run and step.
    """
    compilation.enable_cache()
    workdir = workdir or roots.workdir(experiment)
    corpus = open_corpus(roots, experiment.data, speed=experiment.augment.speed)
    encoder = tuned.open(experiment, roots.weights)
    if init_from and experiment.init_from:
        raise ValueError("--init_from: the config names another run to start with.")
    source = init_from or initialization.source_of(experiment, roots)
    setup = TrainingSetup.of(experiment, corpus, encoder, is_started=bool(source))
    made_by = ""
    if source:
        setup, made_by = initialization.start_from(source, setup, encoder)
    with processes.finishing(), holding(workdir):
        finished = checkpoint_metrics.has_reached(workdir, len(setup.source))
        with devices.first_alone("config"):
            run_config.write(
                *(workdir, experiment, corpus, arguments),
                init_from=made_by,
                encoder=encoder.spec.described() if encoder else None,
                finished=finished,
            )
        return _train(setup, workdir, stop_after, resident)


def holding(workdir: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """The lock of a run's folder; the first of several processes has it for all."""
    if not devices.is_first():
        return contextlib.nullcontext()
    return locks.holding(workdir, "give another --workdir or --config.name")


def _train(
    setup: TrainingSetup,
    workdir: pathlib.Path,
    stop_after: int | None,
    resident: bool,
) -> TrainState:
    with Checkpoints(workdir, to_save=True) as saved:
        layout = devices.Layout.of(setup.source.batch_size)
        state, latest = layout.place(setup.fresh), saved.latest_step()
        if latest is not None:
            state = saved.load(latest, state)
        stop = min(stop_after or len(setup.source), len(setup.source))
        if int(state.step) >= stop:
            return state
        if resident:
            (setup,) = reside([setup], layout)
        with (
            MetricWriter(workdir, start=int(state.step)) as out,
            compilation.counted() as count,
        ):
            state = _loop(setup, layout, state, stop, saved, out)
            logging.info("%s: %s", setup.experiment.name, count)
        if int(state.step) == len(setup.source):
            chance.warn(setup.experiment, workdir)
        return state


def _loop(
    setup: TrainingSetup,
    layout: devices.Layout,
    state: TrainState,
    stop: int,
    saved: Checkpoints,
    out: MetricWriter,
) -> TrainState:
    """Steps until `stop`; at each epoch's end it scores dev and may save.

    When the process is asked to end, it saves wherever it is.
    """
    start, step = int(state.step), jitted_step(setup.step_config)
    size = sum(x.size for x in jax.tree.leaves(state.params))
    logging.info(
        "%s: %d steps of %d to go, %d parameters",
        *(setup.experiment.name, stop - start, stop, size),
    )
    hyperparameters = layout.place(setup.hyperparameters)
    prefetched = PrefetchIterator(batches.prefetch(setup.source, layout, start=start))
    logger = TrainingLogger(setup, saved, out, prefetched, stop)
    for done, batch in enumerate(prefetched, start + 1):
        state, scalars = step(state, batch, hyperparameters)
        prefetched.started(scalars["loss"])
        logger.step(done, scalars)
        asked, scores = _asked(done), {}
        is_due = asked
        if done % setup.source.steps_per_epoch == 0:
            scores = setup.evaluate(state.variables, done)
            is_due = logger.epoch(done, scores) or asked
        if is_due:
            saved.save(state, scores, logger.unwritten())
        if asked and not processes.asked():  # Another process was.
            processes.ask()
        if done == stop or asked:
            break
    return state


def _asked(done: int) -> bool:
    """Whether a process of this training was asked to end; several agree now and then.

    None of them can save alone.
    """
    if jax.process_count() > 1 and done % _AGREE_EVERY:
        return False
    return devices.any_of_them(processes.asked())
