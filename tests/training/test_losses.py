import jax
from jax.test_util import check_grads
import numpy as np
import optax
import pytest

from jser.config import Optim
from jser.training import losses
from jser.training.optimizer import make_schedule


def test_against_a_label_it_is_the_usual_one(rng):
    logits, label = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    got = losses.cross_entropy(logits, np.eye(4)[label])
    want = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    assert got.shape == (6,)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_weights_scale_it(rng):
    logits, target = rng.standard_normal((6, 4)), np.eye(4)[rng.integers(0, 4, 6)]
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    got = losses.cross_entropy(logits, target * weight)
    want = losses.cross_entropy(logits, target) * (target @ weight)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_gradients(rng):
    target = rng.random((3, 4))
    logits = rng.standard_normal((3, 4)).astype(np.float32)
    check_grads(lambda x: losses.cross_entropy(x, target), (logits,), order=1)
    huge = np.array([[1e4, -1e4, 0.0]], np.float32)
    grad = jax.grad(lambda x: losses.cross_entropy(x, np.eye(3)[:1]).sum())(huge)
    assert np.isfinite(grad).all()


def test_epoch_schedule_is_the_authors():
    c = Optim(lr=1e-5, final_lr=1e-6, schedule="epoch")
    at = make_schedule(c, epochs=20, steps_per_epoch=7)
    for step in (0, 6, 7, 69, 139):
        e = step // 7
        want = 1e-6 + 9e-6 * (1 + np.cos(np.pi * e / 20)) / 2
        assert float(at(step)) == pytest.approx(want, rel=1e-6)


def test_step_schedule_ends_at_the_floor():
    c = Optim(lr=1e-3, final_lr=1e-5, schedule="step")
    at = make_schedule(c, epochs=3, steps_per_epoch=5)
    assert float(at(0)) == pytest.approx(1e-3)
    assert float(at(15)) == pytest.approx(1e-5)
    values = [float(at(k)) for k in range(16)]
    assert values == sorted(values, reverse=True)


def test_focal_without_gamma_is_cross_entropy(rng):
    logits, target = rng.standard_normal((5, 4)), rng.dirichlet(np.ones(4), 5)
    np.testing.assert_allclose(
        losses.focal(logits, target, 0.0),
        losses.cross_entropy(logits, target),
        rtol=1e-6,
    )
    sure = np.array([[20.0, 0, 0, 0]])
    assert np.asarray(losses.focal(sure, np.eye(4)[:1], 2.0))[0] < 1e-12


def test_divergence_is_zero_at_the_target(rng):
    target = np.vstack([rng.dirichlet(np.ones(4), 5), np.eye(4)[:1]])
    weight = rng.random(4).astype(np.float32)
    at = np.log(np.maximum(target, 1e-12))
    got = losses.kl_divergence(at, target, np.ones(4, np.float32))
    np.testing.assert_allclose(got, 0, atol=1e-6)
    logits = rng.standard_normal((6, 4)).astype(np.float32)
    divergence = lambda x: losses.kl_divergence(x, target, weight).sum()
    entropy = lambda x: losses.cross_entropy(x, weight * target).sum()
    got, want = jax.grad(divergence)(logits), jax.grad(entropy)(logits)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_soft_margin(rng):
    z, y = rng.standard_normal(6), np.array([1, 0, 1, 0, 0, 1.0])
    want = np.log1p(np.exp(-(2 * y - 1) * z))
    np.testing.assert_allclose(losses.soft_margin(z, y), want, rtol=1e-6)


def test_warm_up_grows_to_the_schedule():
    c = Optim(lr=1e-3, final_lr=1e-3, schedule="step", warmup_steps=4)
    at = make_schedule(c, epochs=1, steps_per_epoch=10)
    np.testing.assert_allclose(
        [float(at(k)) for k in range(6)],
        [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3],
        rtol=1e-6,
    )
