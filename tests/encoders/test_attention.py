"""What encoders' attention gives, short or in blocks of queries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import attention


@pytest.mark.parametrize("frames", [1, 37, 512, 513, 1100])
@pytest.mark.parametrize("biased", [False, True])
def test_is_softmax_attention_at_every_length(frames, biased):
    B, H, d = 2, 3, 8
    rng = np.random.default_rng(frames)
    q, k, v = rng.standard_normal((3, B, frames, H, d)).astype(np.float32)
    mask = np.arange(frames) < np.array([[frames], [max(frames // 2, 1)]])
    bias = rng.standard_normal((B, H, frames, frames)).astype(np.float32)
    bias = bias if biased else None
    want = jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=jnp.asarray(mask[:, None, None])
    )
    got = jax.jit(attention.attend)(q, k, v, mask, bias)
    np.testing.assert_allclose(got, want.reshape(got.shape), atol=5e-6)


def test_without_a_mask_every_key_counts():
    x = np.random.default_rng(0).standard_normal((1, 9, 2, 4)).astype(np.float32)
    got = attention.attend(x, x, x)
    np.testing.assert_array_equal(got, attention.attend(x, x, x, np.ones((1, 9), bool)))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("masked", ["", "keys", "pairs"])
def test_what_cudnn_is_given_says_the_same(masked, biased, monkeypatch):
    """What it makes of that, only a GPU tells; here JAX's own form stands for it."""
    B, T, A, E = 2, 7, 3, 8
    rng = np.random.default_rng(1)
    narrow = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.bfloat16)
    given = [narrow(B, T, A, E) for _ in range(3)]
    keys = np.arange(T) < np.array([[T], [4]])
    pairs = keys[:, None] & (np.arange(T) >= np.arange(T)[:, None] - 2)
    mask = {"": None, "keys": keys, "pairs": pairs}[masked]
    bias = narrow(B, A, T, T) if biased else None
    want = attention.attend(*given, mask, bias)
    attend, asked = jax.nn.dot_product_attention, []

    def instead(*args, implementation, **options):
        asked.append(implementation)
        return attend(*args, implementation="xla", **options)

    monkeypatch.setattr(attention, "_has_cudnn", lambda: True)
    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
    got = attention.attend(*given, mask, bias)
    assert asked == ["cudnn"]
    assert got.dtype == want.dtype
    close = functools.partial(np.testing.assert_allclose, atol=0.02, rtol=0.02)
    close(*(x.astype(jnp.float32) for x in (got, want)))
    attention.attend(*(x.astype(jnp.float32) for x in given))
    assert len(asked) == 1, "float32 is not cuDNN's"


@pytest.mark.parametrize("masked", [True, False])
def test_an_odd_number_of_frames_has_a_gradient_on_nvidia_s_gpus(monkeypatch, masked):
    """It has none of cuDNN's, which is asked for one frame more."""
    rng = np.random.default_rng(0)
    given = [rng.standard_normal((2, 7, 2, 8)).astype(jnp.bfloat16) for _ in range(3)]
    mask = jnp.arange(7) < np.array([[7], [4]]) if masked else None
    weigh = rng.standard_normal((2, 7, 16)).astype(np.float32)
    asked, attend = [], jax.nn.dot_product_attention

    def instead(query, key, value, *more, implementation, **options):
        asked.append(query.shape[1])
        return attend(query, key, value, *more, implementation="xla", **options)

    def gradients():
        loss = lambda *x: (attention.attend(*x, mask).astype(jnp.float32) * weigh).sum()
        return jax.grad(loss, argnums=(0, 1, 2))(*given)

    want = gradients()
    monkeypatch.setattr(attention, "_has_cudnn", lambda: True)
    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
    got = gradients()
    assert asked == [8]
    for a, b in zip(got, want, strict=True):
        a, b = (np.asarray(x.astype(jnp.float32)) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=0.05)
