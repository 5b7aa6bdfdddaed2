"""Trains one ensemble member; rerun to resume. docs/run.md says what it leaves."""

from collections.abc import Callable
import dataclasses
import functools
import pathlib

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jser import (
    checkpoints,
    compilation,
    losses,
    metrics,
    record,
    train_step,
    writer,
)
from jser import config as cfg
from jser.data import batches
from jser.data import corpus as corpora
from jser.data.batches import TrainBatches
from jser.data.corpus import Corpus
from jser.data.features import Split
from jser.emotions import NEUTRAL
from jser.roots import Roots
from jser.train_step import TrainState, Variables


@dataclasses.dataclass(frozen=True)
class Task:
    """What a training run works with; everything but the state."""

    experiment: cfg.Experiment
    corpus: Corpus
    source: TrainBatches
    schedule: optax.Schedule
    fresh: TrainState
    step: Callable
    run_key: jax.Array
    evaluate: Callable[[Variables], dict[str, float]]  # Dev scores, or {}.


def train(
    experiment: cfg.Experiment,
    roots: Roots,
    workdir: pathlib.Path | None = None,
    *,
    stop_after: int | None = None,
) -> TrainState:
    """Trains to the end, from the last checkpoint in `workdir` if there is one.

    Args:
      experiment: A checked config.
      roots: Where tables, features and runs lie.
      workdir: Of this run; `roots.workdir` when None.
      stop_after: Stop at this step, as if cut there (for tests).

    Returns:
      The last state. Equal, bit for bit, whether or not the run was cut and resumed.

    Raises:
      ValueError: if the config or table differs from the one being resumed, or a class
        has no utterance to train on.
      FloatingPointError: when the loss is not finite, naming the step.
    """
    compilation.enable_cache()
    workdir = workdir or roots.workdir(experiment)
    corpus = corpora.open_corpus(roots, experiment.data, speed=experiment.augment.speed)
    task = prepare(experiment, corpus)
    record.write(workdir, experiment, corpus)
    with checkpoints.Checkpoints(workdir) as saved:
        state, latest = task.fresh, saved.latest_step()
        if latest is not None:
            state = saved.load(latest, state)
        stop = min(stop_after or len(task.source), len(task.source))
        if int(state.step) >= stop:
            return state
        with writer.MetricWriter(workdir, start=int(state.step)) as out:
            return _loop(task, state, stop, saved, out)


def prepare(experiment: cfg.Experiment, corpus: Corpus) -> Task:
    """Opens the splits and builds model, optimiser and jitted step."""
    split, classes = corpus.train(), len(corpus.table.labels)
    weight_C = class_weights(split, corpus.table.labels, experiment)
    source = TrainBatches(
        split,
        split.target(corpus.table.labels, soft=experiment.loss.soft_labels),
        corpus.levels,
        experiment.data,
        speed=experiment.augment.speed,
        seed=experiment.seed,
        epochs=experiment.epochs,
    )
    model = train_step.make_model(experiment, classes)
    schedule = train_step.make_schedule(
        experiment.optim,
        epochs=experiment.epochs,
        steps_per_epoch=source.steps_per_epoch,
    )
    tx = train_step.make_optimizer(experiment.optim, schedule)
    speech = tuple(s for s, spec in corpus.specs.items() if spec["kind"] == "speech")
    neutral = _neutral(corpus.table.labels, experiment)
    loss_fn = train_step.make_loss_fn(model, experiment, weight_C, speech, neutral)
    init_key, run_key = jax.random.split(jax.random.key(experiment.seed))
    fresh = train_step.init_state(model, tx, source[0], init_key)
    evaluate = lambda variables: {}
    if experiment.data.dev_split:
        evaluate = functools.partial(
            score,
            split=corpus.split(experiment.data.dev_split),
            corpus=corpus,
            predict_step=train_step.make_predict_step(model),
            class_weight=weight_C,
        )
    return Task(
        experiment=experiment,
        corpus=corpus,
        source=source,
        schedule=schedule,
        fresh=dataclasses.replace(fresh, standard=_standard(corpus, split)),
        step=train_step.make_train_step(tx, loss_fn),
        run_key=run_key,
        evaluate=evaluate,
    )


def _loop(
    task: Task,
    state: TrainState,
    stop: int,
    saved: checkpoints.Checkpoints,
    out: writer.MetricWriter,
) -> TrainState:
    """Steps until `stop`; at each epoch's end it scores dev and may save."""
    c, per_epoch, start = task.experiment, task.source.steps_per_epoch, int(state.step)
    logging.info(
        "%s: %d steps of %d to go, %d parameters",
        *(
            c.name,
            stop - start,
            stop,
            sum(x.size for x in jax.tree.leaves(state.params)),
        ),
    )
    unseen = []  # Losses that are not fetched yet: looking would stall the device.
    for done, batch in enumerate(batches.prefetch(task.source, start=start), start + 1):
        state, scalars = task.step(state, batch, task.run_key)
        unseen.append((done, scalars["loss"]))
        epoch, within = divmod(done, per_epoch)
        if done % c.log_every == 0 or within == 0 or done == stop:
            _refuse_non_finite(unseen, saved)
            unseen.clear()
            found = {f"train/{k}": float(v) for k, v in scalars.items()}
            out.write(
                done, found | {"train/lr": np.asarray(task.schedule(done - 1)).item()}
            )
        if within == 0:
            scores = task.evaluate(state.variables)
            if scores:
                out.write(done, {f"dev/{k}": v for k, v in scores.items()})
            shown = ", ".join(f"dev {k} {v:.3f}" for k, v in scores.items())
            logging.info("epoch %d of %d: %s", epoch, c.epochs, shown or "done")
            best = scores.get("macro_f1", -1.0) > saved.best_macro_f1()
            if best or epoch % c.checkpoint_every == 0 or epoch == c.epochs:
                saved.save(state, scores)
        if done == stop:
            break
    return state


def score(
    variables: Variables,
    *,
    split: Split,
    corpus: Corpus,
    predict_step: Callable,
    class_weight: np.ndarray,
) -> dict[str, float]:
    """Macro-F1, UAR, accuracy and weighted loss over all utterances of a split."""
    logits = logits_of(predict_step, variables, split, corpus)
    classes = len(corpus.table.labels)
    target = split.target(corpus.table.labels) * class_weight
    loss = np.asarray(losses.cross_entropy(logits, target)).sum() / target.sum()
    found = metrics.scores(split.label, logits.argmax(axis=1), classes)
    return found | {"loss": float(loss)}


def logits_of(
    predict_step: Callable,
    variables: Variables,
    split: Split,
    corpus: Corpus,
    batch_size: int = 0,
) -> np.ndarray:
    """Logits [N, C] of all utterances of a split, in its order."""
    logits = np.zeros((len(split), len(corpus.table.labels)), np.float32)
    size = batch_size or corpus.config.batch_size
    for rows, batch in batches.eval_batches(split, corpus.levels, size):
        logits[rows] = np.asarray(predict_step(variables, batch))[: len(rows)]
    return logits


def _standard(corpus: Corpus, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """The "standard" variables: by stream, the columns' mean and deviation on `split`.

    At most 1,024 utterances are read, evenly spaced.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, 1024).astype(int))
    standard = {}
    for s in corpus.config.standardize:
        frames = np.concatenate(split.read(rows)[s]).astype(np.float32)
        # A column that never changes carries nothing: 1 keeps it finite.
        deviation = frames.std(axis=0)
        standard[f"{s}_input"] = {
            "mean": jnp.asarray(frames.mean(axis=0)),
            "deviation": jnp.where(deviation > 1e-6, deviation, 1.0),
        }
    return standard


def _neutral(labels: tuple[str, ...], experiment: cfg.Experiment) -> int | None:
    """The number of the neutral class, if the loss asks for it."""
    if not experiment.loss.neutral_weight:
        return None
    if NEUTRAL not in labels:
        raise ValueError(
            f"loss.neutral_weight: needs {NEUTRAL!r} among the emotions, which are"
            f" {', '.join(labels)}. Set it to 0."
        )
    return labels.index(NEUTRAL)


def class_weights(
    split: Split, labels: tuple[str, ...], experiment: cfg.Experiment
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
            " scripts/prepare.py --keep, or hold out fewer folds."
        )
    if not experiment.loss.class_weights:
        return np.ones(len(labels), np.float32)
    return weights_of(count)


def weights_of(count: np.ndarray) -> np.ndarray:
    """N / (C n_c) of the utterances per class [C]."""
    return (count.sum() / (len(count) * count)).astype(np.float32)


def _refuse_non_finite(
    seen: list[tuple[int, jax.Array]], saved: checkpoints.Checkpoints
) -> None:
    for step, loss in seen:
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"step {step}: the loss is {float(loss)}. The last good checkpoint is"
                f" of step {saved.latest_step()}. A lower --config.optim.lr may help."
            )
