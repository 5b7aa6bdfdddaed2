"""Optimiser and learning-rate schedule."""

import math

import jax.numpy as jnp
import optax

from jser.config import Optim
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
    """AdamW as `torch.optim.AdamW`, on every parameter."""
    return optax.adamw(schedule, weight_decay=c.weight_decay)
