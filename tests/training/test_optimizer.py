"""The weights of a mix of layers learn at a rate of their own."""

import jax
import numpy as np
import optax
import pytest

from jser.config import Data, Experiment, Model, Optim
from jser.models import fusion
from jser.shapes import Batch, Stream
from jser.training import together
from jser.training.optimizer import make_optimizer
from jser.training.step import (
    RunHyperparameters,
    StepConfig,
    init_state,
    jitted_step,
)

STEPS, L, TELLS = 60, 4, 2  # One of the layers tells the class.


def toy(mix_rate: float) -> Experiment:
    return Experiment(
        name="toy",
        data=Data(streams={"speech": "any"}),
        model=Model(hidden=8, dropout=0.0),
        optim=Optim(lr=3e-3, final_lr=3e-3, mix_rate=mix_rate),
    ).check()


def telling(rng) -> Batch:
    label = np.arange(24) % 3
    x = rng.standard_normal((24, 2, L, 6))
    x[:, :, TELLS, :3] += 2 * np.eye(3)[label][:, None]
    stream = Stream(x=x.astype(np.float16), mask=np.ones((24, 2), bool))
    target = np.eye(3, dtype=np.float32)[label]
    return Batch({"speech": stream}, target, np.ones(24, np.float32))


def start(c: Experiment, batch: Batch):
    """Step config, first state and run hyper-parameters."""
    config = StepConfig.of(c, 3, (), None)
    tx = make_optimizer(c.optim, lambda step: c.optim.lr)
    state = init_state(config.model, tx, batch, jax.random.key(0))
    numbers = RunHyperparameters.of(c, jax.random.key(1), np.ones(3), steps=STEPS)
    return config, state, numbers


def mix(state) -> np.ndarray:
    return np.asarray(jax.nn.softmax(state.params["speech_input"][fusion.MIX]))


def trained(c: Experiment, batch: Batch):
    config, state, numbers = start(c, batch)
    for _ in range(STEPS):
        state, _ = jitted_step(config)(state, batch, numbers)
    return state


def test_a_mix_moves_to_the_layer_that_tells(rng):
    batch = telling(rng)
    slow, fast, fixed = (mix(trained(toy(rate), batch)) for rate in (1, 30, 0))
    assert slow[TELLS] < 0.35
    assert fast.argmax() == TELLS
    assert fast[TELLS] > 0.6
    np.testing.assert_array_equal(fixed, 1 / L)


def test_it_is_a_parameter_group_of_its_own(rng):
    """As optax's own for groups, whose state is another."""
    params = {
        "speech_input": {fusion.MIX: np.zeros(3, np.float32)},
        "logits": {"kernel": np.ones((4, 2), np.float32)},
    }
    c = Optim(lr=1e-2, weight_decay=0.1, mix_rate=7.0)
    schedule = lambda step: 1e-2 / (step + 1)
    rates = {"mix": lambda step: 7 * schedule(step), "other": schedule}
    groups = optax.partition(
        {k: optax.adamw(rate, weight_decay=0.1) for k, rate in rates.items()},
        {"speech_input": {fusion.MIX: "mix"}, "logits": {"kernel": "other"}},
    )
    found = []
    for tx in (make_optimizer(c, schedule), groups):
        now, state = params, tx.init(params)
        for seed in range(4):
            draw = np.random.default_rng(seed)
            grads = jax.tree.map(
                lambda x, draw=draw: draw.standard_normal(x.shape).astype("float32"),
                params,
            )
            updates, state = tx.update(grads, state, now)
            now = optax.apply_updates(now, updates)
        found.append(now)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *found)


@pytest.mark.parametrize("rate", [1.0, 7.0])
def test_its_state_is_adamws_whatever_the_rate(rate):
    """So checkpoints of before restore."""
    params = {"speech_input": {fusion.MIX: np.zeros(3, np.float32)}}
    state = make_optimizer(Optim(mix_rate=rate), lambda step: 1e-2).init(params)
    want = optax.adamw(lambda step: 1e-2).init(params)
    assert jax.tree.structure(state) == jax.tree.structure(want)


def test_runs_of_other_rates_train_in_one_step(rng):
    batch, rates = telling(rng), (1.0, 30.0)
    configs, states, numbers = zip(*(start(toy(r), batch) for r in rates), strict=True)
    assert len(set(configs)) == 1
    step = together.together_step(configs[0])
    states, numbers = together.stacked(*states), together.stacked(*numbers)
    both = together.stacked(batch, batch)
    for _ in range(STEPS):
        states, _ = step(states, both, numbers, np.array([True, True]))
    for row, rate in enumerate(rates):
        alone = trained(toy(rate), batch).params["speech_input"][fusion.MIX]
        beside = states.params["speech_input"][fusion.MIX][row]
        np.testing.assert_allclose(beside, alone, atol=1e-4)
