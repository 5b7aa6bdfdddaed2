"""What encoders' attention gives, short or in blocks of queries."""

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
