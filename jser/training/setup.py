"""The training setup: what a run works with."""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np
import optax

from jser import devices
from jser.config import Experiment
from jser.config_rules import SOUND, SOUND_AUGMENTS
from jser.data import adaptation, targets
from jser.data.batches import TrainBatches
from jser.data.collation import Share
from jser.data.corpus import Corpus
from jser.data.resident import Residence
from jser.data.split import Split
from jser.data.targets import AnnotatorDropout
from jser.emotions import NEUTRAL
from jser.statistics import metrics
from jser.statistics.attributes import concordance
from jser.training import losses, standardization
from jser.training.class_weights import class_counts, class_weights
from jser.training.inference import logits_of, make_predict_step
from jser.training.optimizer import make_optimizer, make_schedule, make_thaw
from jser.training.step import (
    RunHyperparameters,
    StepConfig,
    TrainState,
    Variables,
    init_state,
)
from jser.training.tuned import ENCODER, FROZEN, TunedEncoder


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """What a training run works with; everything but the state."""

    experiment: Experiment
    corpus: Corpus
    source: TrainBatches
    schedule: optax.Schedule
    fresh: TrainState
    step_config: StepConfig
    hyperparameters: RunHyperparameters
    dev: Split | None

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        corpus: Corpus,
        encoder: TunedEncoder | None = None,
        *,
        is_started: bool = False,
    ) -> "TrainingSetup":
        """Opens the splits; builds step config, batches and fresh parameters.

        Args:
          experiment: A checked config.
          corpus: That it reads.
          encoder: Of `tuned.open`.
          is_started: Whether parameters and statistics are another run's
            (`started_with`); then none are taken of frames.
        """
        adaptation.warn(experiment, experiment.data.adapt)
        split = corpus.train(soft=experiment.loss.soft_labels)
        labels = corpus.table.labels
        target = targets.of(split, labels, experiment)
        source = TrainBatches(
            *(split, target, corpus.buckets, experiment.data, experiment.augment),
            seed=experiment.seed,
            epochs=experiment.epochs,
            share=Share.mine(),
            classes=len(labels),
            dropout=AnnotatorDropout.of(split, labels, experiment),
        )
        _refuse_no_step(experiment, len(source))
        steps = source.steps_per_epoch
        schedule = make_schedule(
            experiment.optim, epochs=experiment.epochs, steps_per_epoch=steps
        )
        neutral = _neutral(labels, experiment)
        step_config = StepConfig.of(
            *(experiment, len(labels), _speech(corpus), neutral),
            encoder=encoder.program if encoder else None,
        )
        init_key, run_key = jax.random.split(jax.random.key(experiment.seed))
        fresh = init_state(
            step_config.model,
            make_optimizer(experiment.optim, schedule, make_thaw(experiment, steps)),
            source[0],
            init_key,
            encoder.learned if encoder else None,
        )
        name = experiment.data.dev_split
        emotions = target[:, : len(labels)]
        weight_C = class_weights(emotions, labels, experiment)
        count_C = class_counts(emotions)
        standard = standardization.level(split, encoder)
        if not is_started:
            given = corpus, split, step_config.model, encoder
            standard = standardization.statistics(*given)
        return cls(
            experiment=experiment,
            corpus=corpus,
            source=source,
            schedule=schedule,
            fresh=dataclasses.replace(fresh, standard=standard),
            step_config=step_config,
            hyperparameters=RunHyperparameters.of(
                *(experiment, run_key, weight_C, steps),
                frozen=encoder.frozen if encoder else None,
                class_share=count_C / count_C.sum(),
            ),
            dev=corpus.split(name) if name else None,
        )

    def started_with(self, variables: Variables) -> "TrainingSetup":
        """The same from another run's parameters and statistics, at step 0.

        An encoder that learns is not among them, and begins as it is.
        """
        c, steps = self.experiment, self.source.steps_per_epoch
        params = dict(variables["params"])
        if c.tune.encoder and ENCODER not in params:
            params[ENCODER] = self.fresh.params[ENCODER]
        tx = make_optimizer(c.optim, self.schedule, make_thaw(c, steps))
        fresh = dataclasses.replace(
            self.fresh,
            params=params,
            opt_state=tx.init(params),
            standard={**self.fresh.standard, **variables["standard"]},
        )
        return dataclasses.replace(self, fresh=fresh)

    def evaluate(self, variables: Variables, step: int) -> dict[str, float]:
        """Dev scores after a step; {} where there is no dev split.

        Raises:
          FloatingPointError: as `score`.
        """
        if self.dev is None:
            return {}
        predict_step = make_predict_step(self.step_config.model)
        if frozen := self.hyperparameters.frozen:
            variables = {**variables, FROZEN: frozen}
        logits = logits_of(predict_step, variables, self.dev, self.corpus)
        return self.score(logits, self.dev, step)

    def score(self, predicted: np.ndarray, dev: Split, step: int) -> dict[str, float]:
        """Macro-F1, UAR, accuracy and weighted loss of logits [N, C] on a split.

        Of predicted attributes, [N, C + 3], also their concordance with those known.
        `most_predicted` is the share of the predictions that are of their commonest
        class: 1 if all are of one.

        Raises:
          FloatingPointError: if logits are not finite, naming run, step and utterance.
        """
        labels = self.corpus.table.labels
        logits, attributes = np.split(predicted, [len(labels)], axis=1)
        odd = np.flatnonzero(~np.isfinite(predicted).all(axis=1))
        if len(odd):
            c = self.experiment
            raise FloatingPointError(
                f"{c.name} without folds {list(c.data.holdout)}: step {step}: the"
                f" logits of {len(odd)} dev utterances, e.g."
                f" {dev.utterances[odd[0]].utt_id!r}, are not finite. A lower"
                " --config.optim.lr may help."
            )
        target = dev.target(labels) * np.asarray(self.hyperparameters.class_weight)
        loss = np.asarray(losses.cross_entropy(logits, target)).sum() / target.sum()
        told = logits.argmax(axis=1)
        scores = metrics.scores(dev.label, told, len(labels))
        if attributes.size:
            scores |= _concordances(attributes, targets.attributes(dev.utterances))
        most = float(np.bincount(told).max() / len(told))
        return scores | {"loss": float(loss), "most_predicted": most}


def _concordances(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """By attribute, over the utterances of which it is known; none where it is not."""
    known = {
        f"ccc_{name}": (told[~np.isnan(rated)], rated[~np.isnan(rated)])
        for name, told, rated in zip(
            targets.ATTRIBUTES, predicted.T, true.T, strict=True
        )
    }
    return {k: concordance(*pair) for k, pair in known.items() if len(pair[1])}


def reside(
    setups: Sequence[TrainingSetup], layout: devices.Layout
) -> list[TrainingSetup]:
    """The same, with all their frames on the devices.

    Raises:
      ValueError: as `Residence`; if speech is stretched.
    """
    if any(x.experiment.tune.encoder for x in setups):
        raise ValueError("--resident: sound is not kept there; it is small as it is.")
    augments = [x.experiment.augment for x in setups]
    for name in SOUND_AUGMENTS:
        if any(getattr(a, name) for a in augments):
            raise ValueError(f"--resident: augment.{name} changes what is read.")
    splits = [y for x in setups for y in (x.source.split, x.dev) if y]
    residence = Residence(splits, layout)
    return [
        dataclasses.replace(
            x,
            source=x.source.of(residence.of(x.source.split)),
            dev=residence.of(x.dev) if x.dev else None,
        )
        for x in setups
    ]


def _speech(corpus: Corpus) -> tuple[str, ...]:
    """The streams of stored speech, whose frames are augmented."""
    return tuple(
        s
        for s, spec in corpus.specs.items()
        if spec["kind"] == "speech" and spec["name"] != SOUND
    )


def _refuse_no_step(experiment: Experiment, batches: int) -> None:
    """Raises ValueError where a run has fewer batches than make a step."""
    count = experiment.optim.accumulate
    if count > batches:
        raise ValueError(
            f"optim.accumulate: {count} batches make a step, and there are {batches}:"
            " nothing would be learned."
        )


def _neutral(labels: tuple[str, ...], experiment: Experiment) -> int | None:
    """The number of the neutral class, if the loss asks for it."""
    if not experiment.loss.neutral_weight:
        return None
    if NEUTRAL not in labels:
        raise ValueError(
            f"loss.neutral_weight: needs {NEUTRAL!r} among the emotions, which are"
            f" {', '.join(labels)}. Set it to 0."
        )
    return labels.index(NEUTRAL)
