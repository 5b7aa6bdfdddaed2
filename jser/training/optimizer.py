"""Optimiser and learning-rate schedule."""

import math

import jax
import jax.numpy as jnp
import optax

from jser.config import Optim
from jser.models import fusion
from jser.shapes import Array


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


def make_optimizer(c: Optim, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW as `torch.optim.AdamW`, on every parameter.

    The weights of a mix of layers learn at `mix_rate` times the rate. Their step and
    their decay are proportional to the rate, so it is the update that is scaled: the
    state is the same whatever the rate. Under a strong decay they stay near equal, at
    any rate: it holds them, as all of AdamW's parameters, within 1 / `weight_decay`.
    """
    adamw = optax.adamw(schedule, weight_decay=c.weight_decay)

    def scale(path, x):
        return x * c.mix_rate if path[-1].key == fusion.MIX else x

    def update(updates, state, params=None):
        updates, state = adamw.update(updates, state, params)
        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(adamw.init, update)
