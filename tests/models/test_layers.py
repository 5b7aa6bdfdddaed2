"""The layers against plain forms of themselves, and against what padding may do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.models import attention, dropout, recurrence, recurrence_reference


def compare_bigrus(rng, dtype: str, tolerance: float) -> None:
    """Values and gradients of the fast form and of the plain one."""
    B, T, D, H = 4, 9, 3, 4
    x = rng.standard_normal((B, T, D)).astype(dtype)
    everything = np.ones((B, T), bool)
    networks = recurrence.BiGru(H, dtype), recurrence_reference.BiGru(H)
    params, slow = (m.init(jax.random.key(0), x, everything) for m in networks)
    jax.tree.map(np.testing.assert_array_equal, params, slow)
    params = jax.tree.map(lambda p: p.astype(dtype), params)

    def value_and_gradients(module):
        def loss(params, x, mask, weight):
            return (module.apply(params, x, mask) * weight).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    fast, slow = map(value_and_gradients, networks)
    for lengths in ([9, 9, 9, 9], [9, 1, 4, 2], *rng.integers(1, 10, (10, B))):
        mask = np.arange(T) < np.asarray(lengths)[:, None]
        weight = rng.standard_normal((B, T, 2 * H)) * mask[..., None]
        got, want = fast(params, x, mask, weight), slow(params, x, mask, weight)
        assert got[0].dtype == want[0].dtype == dtype
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), got, want
        )


def test_bigru_and_its_gradients_equal_two_plain_scans(rng):
    compare_bigrus(rng, "float32", 1e-5)


def test_what_remains_between_bigrus_is_rounding(rng):
    with jax.enable_x64(True):
        compare_bigrus(rng, "float64", 1e-12)


def test_the_backward_direction_starts_at_the_last_real_frame(rng):
    x = rng.standard_normal((1, 4, 3)).astype(np.float32)
    longer = np.concatenate([x, 9 * np.ones((1, 5, 3), np.float32)], axis=1)
    gru = recurrence.BiGru(4)
    params = gru.init(jax.random.key(0), x, np.ones((1, 4), bool))
    want = gru.apply(params, x, np.ones((1, 4), bool))
    got = gru.apply(params, longer, np.arange(9)[None] < 4)
    np.testing.assert_allclose(got[:, :4], want, atol=1e-6)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_gives_padding_nothing(rng, heads):
    query, other = rng.standard_normal((2, 2, 5, 8)).astype(np.float32)
    mask = np.arange(5) < np.array([5, 2])[:, None]
    attend = attention.CrossAttention(heads)
    params = attend.init(jax.random.key(0), query, [(other, mask)], train=False)
    weight = rng.standard_normal((2, 5)).astype(np.float32)

    def gathered(other):
        attended = attend.apply(params, query, [(other, mask)], train=False)
        return attended.sum(weight)

    changed = np.where(mask[..., None], other, 1e3).astype(np.float32)
    np.testing.assert_allclose(gathered(changed), gathered(other), atol=1e-5)


def test_pooling_is_a_mean_of_real_frames(rng):
    x = rng.standard_normal((2, 4, 3)).astype(np.float32)
    mask = np.arange(4) < np.array([4, 1])[:, None]
    pool = attention.AttentionPool()
    params = pool.init(jax.random.key(0), x, mask)
    zero = jax.tree.map(jnp.zeros_like, params)
    got = pool.apply(zero, x, mask)
    np.testing.assert_allclose(got[0], x[0].mean(0), atol=1e-6)
    np.testing.assert_allclose(pool.apply(params, x, mask)[1], x[1, 0], atol=1e-6)


def test_dropout_keeps_the_mean():
    x = np.ones((40, 50), np.float32)
    drop = dropout.Dropout(0.3)
    rngs = {"dropout": jax.random.key(0)}
    got = np.asarray(drop.apply({}, x, train=True, rngs=rngs))
    assert set(np.unique(got).round(5)) == {0.0, np.float32(1 / 0.7).round(5)}
    assert got.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(drop.apply({}, x, train=False), x)
