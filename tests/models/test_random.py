import jax
import numpy as np
import pytest

from jser.models import dropout, random


def jitted(draw):
    return jax.jit(draw, static_argnums=1)


def test_draws_do_not_depend_on_padding():
    key = jax.random.key(3)
    for draw in map(jitted, (random.bits, random.uniform, random.normal)):
        small, large = draw(key, (2, 3, 5, 4)), draw(key, (2, 3, 9, 7))
        np.testing.assert_array_equal(small, large[:, :, :5, :4])
    keys = jax.random.split(key)
    both = jitted(jax.vmap(random.normal, (0, None)))(keys, (3, 4))
    np.testing.assert_array_equal(both[1], jitted(random.normal)(keys[1], (3, 4)))
    x = np.ones((2, 9, 7), np.float32)
    drop = jax.jit(
        lambda x: dropout.Dropout(0.5).apply({}, x, train=True, rngs={"dropout": key})
    )
    np.testing.assert_array_equal(drop(x)[:, :5, :4], drop(x[:, :5, :4]))


def test_draws_have_their_distributions():
    shape = (64, 2, 40, 30)
    uniform = np.asarray(jitted(random.uniform)(jax.random.key(0), shape))
    # 153,600 draws: six standard errors of the mean, about as many of the other.
    assert uniform.mean() == pytest.approx(0.5, abs=0.0045)
    assert uniform.std() == pytest.approx(12**-0.5, abs=0.003)
    assert 0 <= uniform.min() < 1e-3
    assert 1 - 1e-3 < uniform.max() < 1
    normal = np.asarray(jitted(random.normal)(jax.random.key(1), shape))
    assert normal.mean() == pytest.approx(0, abs=0.016)
    assert normal.std() == pytest.approx(1, abs=0.011)
    assert np.isfinite(normal).all()
    for axis in range(4):  # Neighbours along every axis know nothing of each other.
        a, b = np.moveaxis(normal, axis, 0)[:-1], np.moveaxis(normal, axis, 0)[1:]
        assert abs(np.mean(a * b)) < 0.03
    with pytest.raises(ValueError, match="at most 4 axes"):
        random.bits(jax.random.key(0), (1 << 17,))
