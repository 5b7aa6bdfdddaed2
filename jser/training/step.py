"""The training step: pure, jitted once per padded shape, shared by runs alike."""

from collections.abc import Callable
import dataclasses
import functools
import json
from typing import Any, cast, no_type_check

from flax import struct
import jax
import jax.numpy as jnp
import optax

from jser.config import Experiment, Loss, Tasks
from jser.config_rules import CCC, SAMPLERS, SOUND, SOUND_AUGMENTS, is_sound
from jser.data import augment, targets
from jser.encoders.in_program import SoundEncoder
from jser.shapes import Array, Batch
from jser.training import losses
from jser.training.mixup import mixup
from jser.training.network import AnyNetwork, make_model, products
from jser.training.optimizer import (
    averaged,
    make_optimizer,
    make_schedule,
    make_thaw,
)
from jser.training.tuned import ENCODER, FROZEN

Params = Any
Variables = dict[str, Any]
Metrics = dict[str, jax.Array]


@no_type_check
@struct.dataclass
class TrainState:
    """All that a checkpoint holds. Static things (model, optimiser) stay outside."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState
    standard: Any  # Mean and deviation of columns by stream; {} if none is scaled.

    @property
    def variables(self) -> Variables:
        """What the network is judged by: averaged parameters, where they are kept."""
        mean = averaged(self.opt_state)
        params = self.params if mean is None else mean
        return {"params": params, "standard": self.standard}


def init_state(
    model: AnyNetwork,
    tx: optax.GradientTransformation,
    batch: Batch,
    key: jax.Array,
    encoder: Params | None = None,
) -> TrainState:
    """Fresh parameters.

    Args:
      model: The network.
      tx: The optimiser.
      batch: Of which only the widths matter.
      key: Of random numbers.
      encoder: What is trained of an encoder below the network, as it begins.
    """
    frame = jax.tree.map(lambda x: x[:1, :1], batch.streams)
    variables = cast(Variables, _initializer(model)(key, frame))
    params = dict(variables["params"])
    if encoder is not None:
        params[ENCODER] = encoder
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=tx.init(params),
        standard=variables.get("standard", {}),
    )


@functools.lru_cache
def _initializer(model: AnyNetwork) -> Callable:
    return jax.jit(functools.partial(model.init, train=False))


def make_loss_fn(
    model: AnyNetwork,
    c: Experiment,
    class_weight: Array,
    speech: tuple[str, ...],
    neutral: int | None = None,
    share: Array | None = None,
) -> Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Metrics]]:
    """Builds `loss_fn(variables, batch, key) -> (loss, metrics)`, augmentation too.

    Losses of several tasks are added by their weights; `metrics` has each by itself.

    Args:
      model: A network with the outputs of `FusionClassifier`.
      c: The experiment.
      class_weight: [C].
      speech: The streams whose frames are augmented.
      neutral: Number of the neutral class, where the model has a neutral head.
      share: [C], of the classes among the utterances trained on, which the loss "vs"
        reads.
    """
    weight_C = jnp.asarray(class_weight)
    of = targets.columns(c.tasks, len(weight_C))
    tasks = {task: at for task, at in of.items() if task != targets.EMOTION}

    def loss_fn(variables, batch, key):
        keys = jax.random.split(key, 3)
        streams = dict(batch.streams)
        for s in speech:
            if c.augment.noise or c.augment.time_masks or c.augment.width_masks:
                streams[s] = augment.disturb(
                    jax.random.fold_in(keys[0], speech.index(s)), streams[s], c.augment
                )
        mix, target_BK = mixup(keys[1], jnp.asarray(batch.target), c.augment)
        target_BC = target_BK[:, of[targets.EMOTION]]
        rngs = {"dropout": keys[2]}
        outputs = cast(
            dict[str, Array],
            model.apply(variables, streams, train=True, on_joint=mix, rngs=rngs),
        )
        smooth_BC = optax.smooth_labels(target_BC, c.loss.label_smoothing)
        logits_BC = outputs["emotion"]
        if c.loss.kind == "vs":
            vs = c.loss.vs_gamma, c.loss.vs_tau
            logits_BC = losses.vector_scaled(logits_BC, jnp.asarray(share), *vs)
        loss_B = _emotion_loss(c.loss, logits_BC, smooth_BC, weight_C)
        total_B = (smooth_BC * weight_C).sum(axis=-1)
        if c.loss.per_utterance:
            total_B = jnp.ones_like(total_B)
        emotion = (batch.weight * loss_B).sum() / (batch.weight * total_B).sum()
        loss, metrics = c.tasks.emotion * emotion, {}
        if neutral is not None:
            margin_B = losses.soft_margin(
                outputs["neutral"][:, 0], target_BC[:, neutral]
            )
            margin = (batch.weight * margin_B).sum() / batch.weight.sum()
            loss += c.loss.neutral_weight * margin
            metrics["neutral_loss"] = margin
        if tasks or c.tasks.emotion != 1:
            metrics["emotion_loss"] = emotion
        for task, columns in tasks.items():
            given = outputs[task], target_BK[:, columns], batch.weight
            metrics[f"{task}_loss"] = task_loss(task, c.tasks, *given)
            loss += getattr(c.tasks, task) * metrics[f"{task}_loss"]
        return loss, metrics | {"loss": loss}

    return loss_fn


def _emotion_loss(c: Loss, logits: Array, target_BC: Array, weight_C: Array) -> Array:
    """The loss of the emotion head by utterance, [B]."""
    if c.kind == "focal":
        return losses.focal(logits, target_BC * weight_C, c.focal_gamma)
    if c.kind == "kl":
        return losses.kl_divergence(logits, target_BC, weight_C)
    return losses.cross_entropy(logits, target_BC * weight_C)


def task_loss(
    task: str, c: Tasks, outputs: Array, target: Array, weight_B: Array
) -> jax.Array:
    """Mean loss of a further task over the values that are known.

    Attributes are 1 + 6 sigmoid(output): their squared error, or 1 less the concordance
    over the batch, mean over the three. Secondary emotions and gender are told by
    binary cross-entropy.
    """
    known = ~jnp.isnan(target)
    there = weight_B[:, None] * known
    true = jnp.where(known, target, 1.0)
    if task == targets.OF_ATTRIBUTES:
        predicted = attributes_of(outputs)
        if c.attribute_loss == CCC:
            fits = jax.vmap(losses.concordance, in_axes=1)(predicted, true, there)
            return 1 - fits.mean()
        each = (predicted - true) ** 2
    else:
        each = losses.binary_cross_entropy(outputs, true)
    return (there * each).sum() / jnp.maximum(there.sum(), 1)


def attributes_of(outputs: Array) -> jax.Array:
    """1 + 6 sigmoid of the attributes' head: from 1 to 7, as MSP-Podcast rates."""
    return 1 + 6 * jax.nn.sigmoid(outputs)


def update(
    tx: optax.GradientTransformation,
    loss_fn: Callable,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    frozen: Any = None,
) -> tuple[TrainState, Metrics]:
    """One step. `key` is the run's key: the step folds itself in."""
    key = jax.random.fold_in(key, state.step)
    held = {"standard": state.standard} | ({FROZEN: frozen} if frozen else {})
    loss_of = lambda params: loss_fn({"params": params, **held}, batch, key)
    grads, metrics = jax.grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    new = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
    )
    return new, metrics | {"grad_norm": optax.tree.norm(grads)}


# Fields of the optimiser's config that are a run's own.
RATES = ("lr", "final_lr", "weight_decay", "warmup_steps", "mix_rate", "encoder_rate")


@no_type_check
@struct.dataclass
class RunHyperparameters:
    """Run hyper-parameters: numbers that a step takes as inputs.

    Runs of one `StepConfig` may differ in them.
    """

    key: jax.Array  # The run's; the step folds itself in.
    class_weight: Array  # C.
    class_share: Array  # C.
    neutral_weight: Array
    lr: Array
    final_lr: Array
    weight_decay: Array
    warmup_steps: Array
    mix_rate: Array
    encoder_rate: Array
    epochs: Array
    steps_per_epoch: Array
    frozen: Any  # Of an encoder that learns, what does not; {} without one.

    @classmethod
    def of(
        cls,
        c: Experiment,
        key: jax.Array,
        class_weight: Array,
        steps: int,
        frozen: Any = None,
        class_share: Array | None = None,
    ) -> "RunHyperparameters":
        """Of a run of `steps` steps an epoch; classes have like shares by default."""
        o = c.optim
        if class_share is None:
            class_share = jnp.full(len(class_weight), 1 / len(class_weight))
        return cls(
            key=key,
            class_weight=jnp.asarray(class_weight, jnp.float32),
            class_share=jnp.asarray(class_share, jnp.float32),
            neutral_weight=jnp.float32(c.loss.neutral_weight),
            lr=jnp.float32(o.lr),
            final_lr=jnp.float32(o.final_lr),
            weight_decay=jnp.float32(o.weight_decay),
            warmup_steps=jnp.int32(o.warmup_steps),
            mix_rate=jnp.float32(o.mix_rate),
            encoder_rate=jnp.float32(o.encoder_rate),
            epochs=jnp.int32(c.epochs),
            steps_per_epoch=jnp.int32(steps),
            frozen=frozen or {},
        )


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """Static step config: what a step is compiled from, besides its inputs' shapes.

    Runs of one step config, as the folds of a member are, share what is compiled and
    can train in one step.
    """

    config: str  # JSON of the experiment, less what is a run's own or no step's affair.
    classes: int
    speech: tuple[str, ...]  # Streams that are augmented.
    neutral: int | None  # Number of the neutral class, where there is a neutral head.
    encoder: SoundEncoder | None = None  # That learns.

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        classes: int,
        speech: tuple[str, ...],
        neutral: int | None,
        encoder: SoundEncoder | None = None,
    ) -> "StepConfig":
        """The step config of an experiment."""
        c = experiment.to_dict()
        c |= {"name": "", "seed": 0, "epochs": 1, "log_every": 1, "checkpoint_every": 1}
        c["data"] |= {"corpus": "", "sampler": SAMPLERS[0], "holdout": []}
        c["data"] |= {"train_split": "", "dev_split": "", "shuffle_window": 1}
        c["data"]["longest_s"] = 0.0
        c["data"]["streams"] = {
            s: SOUND if is_sound(f) else "" for s, f in c["data"]["streams"].items()
        }
        c["augment"] |= dict.fromkeys(SOUND_AUGMENTS, 0.0)
        c["optim"] |= {"lr": 1.0, "final_lr": 1.0, "weight_decay": 0.0}
        c["optim"] |= {"warmup_steps": 0, "mix_rate": 1.0, "encoder_rate": 1.0}
        c["loss"] |= {"class_weights": True, "soft_labels": False, "mentions": False}
        c["loss"]["weight_exponent"], c["augment"]["annotators"] = 1.0, 0.0
        c["init_from"] = ""
        c["loss"]["neutral_weight"] = float(neutral is not None)
        return cls(json.dumps(c), classes, speech, neutral, encoder)

    @property
    def experiment(self) -> Experiment:
        """With the values of no run where they are a run's own."""
        return Experiment.from_dict(json.loads(self.config))

    @functools.cached_property
    def model(self) -> AnyNetwork:
        """The network."""
        return make_model(self.experiment, self.classes, self.encoder)

    def step(
        self, state: TrainState, batch: Batch, hyperparameters: RunHyperparameters
    ) -> tuple[TrainState, Metrics]:
        """One step of a run; pure, not jitted."""
        c = self.experiment
        for name in RATES:
            setattr(c.optim, name, getattr(hyperparameters, name))
        c.loss.neutral_weight = hyperparameters.neutral_weight  # pyright: ignore
        loss_fn = make_loss_fn(
            *(self.model, c, hyperparameters.class_weight, self.speech, self.neutral),
            share=hyperparameters.class_share,
        )
        schedule = make_schedule(
            c.optim,
            epochs=hyperparameters.epochs,
            steps_per_epoch=hyperparameters.steps_per_epoch,
        )
        thaw = make_thaw(c, hyperparameters.steps_per_epoch)
        tx = make_optimizer(c.optim, schedule, thaw)
        key, frozen = hyperparameters.key, hyperparameters.frozen
        with products(c.precision):
            return update(tx, loss_fn, state, batch, key, frozen)


@functools.lru_cache
def jitted_step(
    step_config: StepConfig,
) -> Callable[[TrainState, Batch, RunHyperparameters], tuple[TrainState, Metrics]]:
    """`step_config.step`, jitted; one function for all runs of a step config."""
    return jax.jit(step_config.step, donate_argnums=0)
