"""Optimiser and learning-rate schedule."""

from collections.abc import Callable, Mapping
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jser.config import Experiment, Optim
from jser.models import fusion
from jser.shapes import Array
from jser.training.tuned import ENCODER


def make_schedule(
    c: Optim, *, epochs: int | Array, steps_per_epoch: int | Array
) -> optax.Schedule:
    """Final + (lr - final) (1 + cos(pi t)) / 2, t the share of training that is done.

    Under the schedule "epoch" t moves when an epoch ends and never reaches 1, as the
    authors' scheduler does; under "step" it moves with every step. Over the first
    `warmup_steps` the rate is also scaled up from 0.
    """

    def schedule(step):
        if c.schedule == "epoch":
            done = (step // steps_per_epoch) / epochs
        else:
            done = step / (epochs * steps_per_epoch)
        rate = c.final_lr + (c.lr - c.final_lr) * (1 + jnp.cos(math.pi * done)) / 2
        return rate * jnp.minimum(1.0, (step + 1) / jnp.maximum(1, c.warmup_steps))

    return schedule


def make_thaw(c: Experiment, steps_per_epoch: int | Array) -> optax.Schedule | None:
    """Times which the rate of an encoder is, by step; None where none learns."""
    if not c.tune.encoder:
        return None
    frozen = c.tune.frozen_epochs * steps_per_epoch

    def thaw(step: Any) -> Any:
        return c.optim.encoder_rate * (step >= frozen)

    return thaw


def make_optimizer(
    c: Optim, schedule: optax.Schedule, thaw: optax.Schedule | None = None
) -> optax.GradientTransformation:
    """AdamW as `torch.optim.AdamW`, on every parameter.

    The weights of a mix of layers learn at `mix_rate` times the rate. Their step and
    their decay are proportional to the rate, so it is the update that is scaled: the
    state is the same whatever the rate. Under a strong decay they stay near equal, at
    any rate: it holds them, as all of AdamW's parameters, within 1 / `weight_decay`.

    Args:
      c: Decay, clipping, batches a step and so on.
      schedule: Of the rate, by batch.
      thaw: Times the rate, of an encoder's parameters.
    """
    # The optimiser counts its own steps.
    by_batch = lambda f: lambda count: f(count * c.accumulate)
    adamw = optax.adamw(by_batch(schedule), weight_decay=c.weight_decay)
    tx = optax.GradientTransformation(adamw.init, _with_mix_rate(adamw, c.mix_rate))
    if c.clip_norm:
        tx = optax.chain(optax.clip_by_global_norm(c.clip_norm), tx)
    if thaw:
        # What is frozen counts neither in the norm nor in the moments.
        learns = optax.scale_by_schedule(
            lambda count: 1.0 * (by_batch(thaw)(count) > 0)
        )
        tx = optax.chain(optax.masked(learns, _of_encoder), tx)
        scale = optax.scale_by_schedule(by_batch(thaw))
        tx = optax.chain(tx, optax.masked(scale, _of_encoder))
    if c.average:
        tx = optax.chain(tx, _averaging(c.average))
    if c.accumulate > 1:
        tx = optax.MultiSteps(tx, c.accumulate).gradient_transformation()
    return tx


def _with_mix_rate(
    adamw: optax.GradientTransformation, rate: float | Array
) -> Callable:
    """AdamW's update, of the weights of a mix at their own rate."""

    def scale(path, x):
        return x * rate if path[-1].key == fusion.MIX else x

    def update(updates, state, params=None):
        updates, state = adamw.update(updates, state, params)
        return jax.tree_util.tree_map_with_path(scale, updates), state

    return update


def _of_encoder(params: Any) -> Any:
    """Which parameters are an encoder's."""
    return {k: jax.tree.map(lambda _, k=k: k == ENCODER, x) for k, x in params.items()}


class Averaged(NamedTuple):
    """The moving average of the parameters; in an optimiser's state."""

    averaged: Any


def _averaging(decay: float) -> optax.GradientTransformation:
    """Keeps decay * average + (1 - decay) * parameters, first the parameters."""

    def update(updates, state: Any, params: Any = None):
        new = optax.apply_updates(params, updates)
        step = lambda mean, x: decay * mean + (1 - decay) * x
        return updates, Averaged(jax.tree.map(step, state.averaged, new))

    # Copies: a step takes the arrays of its state, each once.
    init = lambda params: Averaged(jax.tree.map(jnp.copy, params))
    return optax.GradientTransformation(init, update)


def averaged(opt_state: Any) -> Any:
    """The moving average that an optimiser's state holds, or None.

    Args:
      opt_state: Of `make_optimizer`, or as a checkpoint gives it back, as plain trees.
    """
    if isinstance(opt_state, Averaged):
        return opt_state.averaged
    if isinstance(opt_state, Mapping):
        if set(opt_state) == set(Averaged._fields):
            return opt_state[Averaged._fields[0]]
        opt_state = opt_state.values()
    elif not isinstance(opt_state, tuple | list):
        return None
    found = (averaged(x) for x in opt_state)
    return next((x for x in found if x is not None), None)
