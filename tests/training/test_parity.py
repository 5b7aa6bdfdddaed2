"""Number for number against what the authors' PyTorch code computed.

The numbers are in ../shared/fixtures, which does not belong to the repository.
"""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest

from jser.config import Data, Experiment, Loss, Model, Optim
from jser.models import fusion
from jser.shapes import Batch, Stream
from jser.training import convert, losses
from jser.training.optimizer import make_optimizer, make_schedule
from jser.training.step import (
    RunHyperparameters,
    StepConfig,
    init_state,
    jitted_step,
    make_loss_fn,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "shared" / "fixtures"
pytestmark = pytest.mark.skipif(
    not FIXTURES.exists(), reason="the authors' numbers are not in ../shared/fixtures"
)
SMALL = ("small_bimodal", "small_bimodal_ranking", "small_trimodal")
STREAMS = ("speech", "text", "prosody")


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as data:
        return dict(data)


def part(data: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}


def inputs(data: dict[str, np.ndarray]) -> dict[str, Stream]:
    """The padded batch with its lengths."""
    found = {}
    for k, name in enumerate(STREAMS, 1):
        if f"in/x{k}" in data:
            x, length = data[f"in/x{k}"], data[f"in/len{k}"]
            mask = np.arange(x.shape[1]) < length[:, None]
            found[name] = Stream(x=x, mask=mask)
    return found


def model_of(data: dict[str, np.ndarray], **changes) -> fusion.FusionClassifier:
    settings = {
        "streams": tuple(inputs(data)),
        "classes": 8,
        "hidden": 8,
        "dropout": 0.0,
        "heads": (("prosody", 2),),
        "neutral_head": "out/logits_neutral" in data,
    }
    return fusion.FusionClassifier(**(settings | changes))


def experiment(data: dict[str, np.ndarray]) -> Experiment:
    return Experiment(
        name="parity",
        data=Data(streams=dict.fromkeys(inputs(data), "any")),
        loss=Loss(neutral_weight=1.0 if "loss/sml" in data else 0.0),
    )


def batch_of(data: dict[str, np.ndarray]) -> Batch:
    label = data["in/y"]
    return Batch(
        streams=inputs(data),
        target=np.eye(8, dtype=np.float32)[label],
        weight=np.ones(len(label), np.float32),
    )


def close(got, want, tolerance: float) -> None:
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SMALL)
def test_logits(name):
    data = load(name)
    streams = inputs(data)
    variables = {"params": convert.to_params(part(data, "sd/"), tuple(streams))}
    say = lambda **changes: jax.jit(
        lambda x: model_of(data, **changes).apply(variables, x, train=False)
    )
    masked, unmasked = say(), say(mask_padding=False)
    close(unmasked(streams)["emotion"], data["out/logits"], 1e-5)
    close(masked(streams)["emotion"], data["out/logits_solo"], 1e-5)
    assert np.abs(data["out/logits"] - data["out/logits_solo"]).max() > 0.01
    for i, want in enumerate(data["out/logits_solo"]):
        alone = {
            s: Stream(
                x=x.x[i : i + 1, x.mask[i]], mask=np.ones((1, x.mask[i].sum()), bool)
            )
            for s, x in streams.items()
        }
        close(masked(alone)["emotion"][0], want, 1e-5)
    if "out/logits_neutral" in data:
        close(unmasked(streams)["neutral"], data["out/logits_neutral"], 1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_losses(name):
    data = load(name)
    target, logits = np.eye(8)[data["in/y"]], data["out/logits"]
    weighted = target * data["in/class_weights"]
    wce = losses.cross_entropy(logits, weighted).sum() / weighted.sum()
    close(wce, data["loss/wce"], 1e-6)
    plain = losses.cross_entropy(logits, target).mean()
    close(plain, data["loss/ce_unweighted"], 1e-6)
    # The authors' bimodal script builds the focal loss with 2, the trimodal with 3.
    gamma = 3.0 if "trimodal" in name else 2.0
    close(losses.focal(logits, target, gamma).mean(), data["loss/focal"], 1e-6)
    if "loss/sml" in data:
        logit = data["out/logits_neutral"][:, 0]
        close(losses.soft_margin(logit, target[:, 7]).mean(), data["loss/sml"], 1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_every_gradient(name):
    data = load(name)
    batch, streams = batch_of(data), inputs(data)
    model = model_of(data, mask_padding=False)
    params = convert.to_params(part(data, "sd/"), tuple(streams))
    loss_fn = make_loss_fn(
        model, experiment(data), data["in/class_weights"], (), neutral=7
    )
    if "loss/sml" not in data:
        loss_fn = make_loss_fn(model, experiment(data), data["in/class_weights"], ())

    def loss(params, frames):
        read = {s: dataclasses.replace(x, x=frames[s]) for s, x in streams.items()}
        with_frames = dataclasses.replace(batch, streams=read)
        return loss_fn({"params": params}, with_frames, jax.random.key(0))[0]

    frames = {s: x.x for s, x in streams.items()}
    got, (grads, of_frames) = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, frames)
    close(got, data["loss/total"], 1e-5)
    theirs = convert.from_params(grads, tuple(streams))
    want = part(data, "grad/")
    assert set(theirs) == set(want)
    for key in want:
        np.testing.assert_allclose(theirs[key], want[key], atol=1e-5, err_msg=key)
    for k, s in enumerate(streams, 1):
        close(of_frames[s], data[f"grad_in/x{k}"], 1e-5)


@pytest.fixture(scope="module")
def seeded():
    """`seeded_weights.py` of the fixtures: arrays by name."""
    path = FIXTURES / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seeded_state(data, seeded, prefix: str = "") -> dict[str, np.ndarray]:
    state = {}
    for name, shape in zip(data["param/names"], data["param/shapes"], strict=True):
        dims = tuple(json.loads(str(shape)))
        plain = str(name).removeprefix(prefix)
        state[plain] = seeded.weight(prefix + plain, dims)
    return state


@pytest.mark.slow
def test_full_size(seeded):
    data = load("seeded_bimodal_full")
    params = convert.to_params(seeded_state(data, seeded), STREAMS[:2])
    dims, lengths = data["in/dims"], data["in/lengths"]
    longest = lengths.max(axis=0)
    streams = {}
    for k, (name, D) in enumerate(zip(STREAMS, dims, strict=False)):
        x = np.zeros((2, longest[k], D), np.float32)
        for b in range(2):
            T = lengths[b, k]
            x[b, :T] = seeded.noise(f"x{k + 1}/{b}", (1, T, D))[0]
        mask = np.arange(longest[k]) < lengths[:, k, None]
        streams[name] = Stream(x=x, mask=mask)
    for mask_padding, kind in ((True, "solo"), (False, "padded_unmasked")):
        model = fusion.FusionClassifier(
            streams=STREAMS[:2],
            classes=8,
            neutral_head=True,
            mask_padding=mask_padding,
        )
        say = jax.jit(lambda p, x, m=model: m.apply({"params": p}, x, train=False))
        found = say(params, streams)
        close(found["emotion"], data[f"out/logits_{kind}"], 2e-5)
        close(found["neutral"], data[f"out/neutral_{kind}"], 2e-5)


def test_sixty_steps_of_the_recipe(seeded):
    """Optimiser, schedule, losses and gradients together."""
    data = load("trajectory_bimodal_ranking")
    prefix = f"{data['in/prefix']}/"
    params = convert.to_params(seeded_state(data, seeded, prefix), STREAMS[:2])
    hidden = params["speech_encoder"]["projection"]["bias"].size
    c = Experiment(
        name="trajectory",
        data=Data(streams={"speech": "any", "text": "any"}),
        model=Model(hidden=hidden, dropout=0.0, mask_padding=False),
        loss=Loss(neutral_weight=1.0),
        optim=Optim(lr=float(data["in/lr"][0]), final_lr=1e-6),
        epochs=10,
    )
    schedule = make_schedule(c.optim, epochs=10, steps_per_epoch=6)
    np.testing.assert_allclose(
        [float(schedule(k)) for k in range(60)], data["in/lr"], rtol=1e-5
    )
    config = StepConfig.of(c, 8, (), neutral=7)
    weight = data["in/class_weights"].astype(np.float32)
    numbers = RunHyperparameters.of(c, jax.random.key(0), weight, steps=6)

    def batch(rows) -> Batch:
        streams = {
            s: Stream(x=x[rows], mask=np.ones((len(rows), x.shape[1]), bool))
            for s, x in (("speech", data["in/x1"]), ("text", data["in/x2"]))
        }
        target = np.eye(8, dtype=np.float32)[data["in/labels"][rows]]
        return Batch(
            streams=streams, target=target, weight=np.ones(len(rows), np.float32)
        )

    tx = make_optimizer(c.optim, schedule)
    first = batch(data["in/order"][0])
    fresh = init_state(config.model, tx, first, jax.random.key(0))
    params = jax.tree.map(jax.numpy.asarray, params)
    state = dataclasses.replace(fresh, params=params, opt_state=tx.init(params))
    losses_, margins = [], []
    for rows in data["in/order"]:
        state, found = jitted_step(config)(state, batch(rows), numbers)
        losses_.append(float(found["loss"]))
        margins.append(float(found["neutral_loss"]))
    np.testing.assert_allclose(losses_, data["out/loss"], atol=1e-4)
    np.testing.assert_allclose(margins, data["out/sml"], atol=1e-4)
    final = config.model.apply(
        state.variables, batch(np.arange(48)).streams, train=False
    )
    np.testing.assert_allclose(final["emotion"], data["out/final_logits"], atol=1e-3)
    np.testing.assert_allclose(final["neutral"], data["out/final_neutral"], atol=1e-3)
