"""What an utterance is said to be must not depend on its company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.config import Data, Experiment, Loss, Model, Optim
from jser.models import baseline, fusion
from jser.models.fusion import FusionClassifier
from jser.shapes import Batch, Stream
from jser.training.optimizer import make_optimizer
from jser.training.step import (
    RunHyperparameters,
    StepConfig,
    init_state,
    jitted_step,
)

WIDTH = {"speech": 5, "text": 4, "prosody": 3, "video": 2}
T = 9
SLOW = pytest.mark.slow


def draw(count: int, names: tuple[str, ...], rng) -> list[dict[str, np.ndarray]]:
    """Utterances of 1 to T - 2 frames."""
    return [
        {s: rng.standard_normal((rng.integers(1, T - 1), WIDTH[s])) for s in names}
        for _ in range(count)
    ]


def batch(utterances: list[dict[str, np.ndarray]], frames: int) -> dict[str, Stream]:
    """Pads utterances with rubbish."""
    streams = {}
    for s in utterances[0]:
        length = np.array([len(u[s]) for u in utterances])
        x = np.full((len(utterances), frames, WIDTH[s]), 7.0, np.float32)
        for row, u in zip(x, utterances, strict=True):
            row[: len(u[s])] = u[s]
        streams[s] = Stream(x=x, mask=np.arange(frames) < length[:, None])
    return streams


def network(names: tuple[str, ...], **options) -> FusionClassifier:
    return FusionClassifier(streams=names, classes=3, hidden=4, **options)


@pytest.mark.parametrize(
    "count",
    [2, *(pytest.param(n, marks=SLOW) for n in (1, 3, 4)), "baseline"],
)
def test_padding_mates_and_order_change_no_logit(count, rng):
    names = tuple(WIDTH)[: 2 if count == "baseline" else count]
    net = network(names, heads=(("speech", 2),))
    if count == "baseline":
        net = baseline.PoolingClassifier(streams=names, classes=3, hidden=4)
    params = net.init(jax.random.key(0), batch(draw(4, names, rng), T), train=False)
    say = jax.jit(lambda b: net.apply(params, b, train=False)["emotion"])
    for _ in range(10):
        utterances = draw(4, names, rng)
        want = say(batch(utterances, T))
        assert np.ptp(want, axis=0).max() > 1e-3  # They do differ.
        np.testing.assert_allclose(say(batch(utterances, T - 2)), want, atol=1e-5)
        backwards = say(batch(utterances[::-1], T))[::-1]
        np.testing.assert_allclose(backwards, want, atol=1e-5)
        alone = [say(batch([u], T))[0] for u in utterances]
        np.testing.assert_allclose(alone, want, atol=1e-5)


def test_reading_padding_does_change_logits(rng):
    names = ("speech", "text")
    net, utterances = network(names, mask_padding=False), draw(2, names, rng)
    params = net.init(jax.random.key(0), batch(utterances, T), train=False)
    say = lambda b: net.apply(params, b, train=False)["emotion"]
    longer = say(batch(utterances, T + 4))
    assert np.abs(longer - say(batch(utterances, T))).max() > 1e-3


def test_gradients_do_not_see_padding(rng):
    names = ("speech", "text")
    net, utterances = network(names), draw(3, names, rng)
    params = net.init(jax.random.key(0), batch(utterances, T), train=False)

    @jax.jit
    def gradients(params, streams):
        loss = lambda p: (net.apply(p, streams, train=False)["emotion"] ** 2).sum()
        return jax.grad(loss)(params)

    want = gradients(params, batch(utterances, T))
    got = gradients(params, batch(utterances, T + 5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_wrong_streams_are_refused(rng):
    streams = batch(draw(1, ("speech",), rng), T)
    with pytest.raises(ValueError, match=r"reads \['speech', 'text'\], got"):
        network(("speech", "text")).init(jax.random.key(0), streams, train=False)


def test_layers_of_an_encoder_are_summed_by_learned_weights(rng):
    """At first their mean; then whatever is learned."""
    one = fusion.StreamInput()
    x = rng.standard_normal((2, 5, 3, 4)).astype(np.float16)
    variables = one.init(jax.random.key(0), x)
    np.testing.assert_allclose(
        one.apply(variables, x), x.astype(np.float32).mean(2), atol=1e-3
    )
    variables = {"params": {"layers": jnp.array([0.0, 50.0, 0.0])}}
    np.testing.assert_allclose(one.apply(variables, x), x[:, :, 1], atol=1e-5)


@pytest.mark.parametrize("standardize", [False, True])
def test_layers_of_an_encoder_stand_side_by_side(standardize, rng):
    one = fusion.StreamInput(standardize, layers="beside")
    x = rng.standard_normal((2, 5, 3, 4)).astype(np.float32)
    variables = one.init(jax.random.key(0), x)
    assert "params" not in variables  # Nothing to learn.
    scale = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    if standardize:
        variables = {"standard": {"mean": 0 * scale, "deviation": scale}}
    want = (x / scale if standardize else x).reshape(2, 5, 12)
    np.testing.assert_allclose(one.apply(variables, x), want, rtol=1e-6)
    frames = rng.standard_normal((2, 5, 12)).astype(np.float16)  # One layer, as it is.
    np.testing.assert_array_equal(fusion.StreamInput().apply({}, frames), frames)


@pytest.mark.parametrize("kind", [FusionClassifier, baseline.PoolingClassifier])
def test_every_network_reads_layers_side_by_side(kind, rng):
    """As it reads one layer that is as wide."""
    wide = draw(2, ("speech",), rng)
    flat = batch(wide, T)["speech"]
    flat = Stream(x=np.concatenate([flat.x, -flat.x], -1), mask=flat.mask)
    deep = Stream(x=flat.x.reshape(2, T, 2, -1), mask=flat.mask)
    net = kind(streams=("speech",), classes=3, hidden=4, layers="beside")
    said = [
        net.init_with_output(jax.random.key(0), {"speech": s}, train=False)[0]
        for s in (flat, deep)
    ]
    np.testing.assert_array_equal(said[0]["emotion"], said[1]["emotion"])


@pytest.mark.slow
def test_four_streams_train_without_new_code(rng):
    """One of them carries three layers, standardised."""
    streams = {
        f"s{k}": Stream(
            x=rng.standard_normal((4, T, *shape)).astype(np.float16),
            mask=np.arange(T) < rng.integers(1, T + 1, (4, 1)),
        )
        for k, (T, shape) in enumerate(((5, (3, 4)), (4, (2,)), (3, (6,)), (6, (2,))))
    }
    experiment = Experiment(
        name="toy",
        data=Data(streams=dict.fromkeys(streams, "any"), standardize=("s0",)),
        model=Model(hidden=4),
        loss=Loss(neutral_weight=1.0),
        optim=Optim(lr=1e-2, final_lr=1e-2),
    ).check()
    target = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    batch = Batch(streams=streams, target=target, weight=np.ones(4, np.float32))
    config = StepConfig.of(experiment, 3, (), neutral=2)
    tx = make_optimizer(experiment.optim, lambda step: 1e-2)
    state = init_state(config.model, tx, batch, jax.random.key(0))
    numbers = RunHyperparameters.of(experiment, jax.random.key(1), np.ones(3), steps=12)
    found = []
    for _ in range(12):
        state, scalars = jitted_step(config)(state, batch, numbers)
        found.append(float(scalars["loss"]))
    assert np.mean(found[-3:]) < np.mean(found[:3])
