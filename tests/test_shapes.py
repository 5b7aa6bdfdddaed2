"""The tests enforce what signatures say, by an option in pyproject.toml."""

import jax
import jaxtyping
import numpy as np
import pytest

from jser.models import attention
from jser.shapes import Stream
from jser.statistics import metrics


def test_a_wrong_shape_is_an_error_on_the_host_and_in_a_network():
    with pytest.raises(jaxtyping.TypeCheckError, match="macro_f1"):
        metrics.macro_f1(np.ones((2, 3), int))
    x = np.ones((2, 5, 3), np.float32)
    pool = attention.AttentionPool()
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        pool.init(jax.random.key(0), x, np.ones((2, 4), bool))


def test_fields_of_pytrees_may_hold_what_jax_puts_there():
    stream = Stream(x=np.ones((2, 3, 4)), mask=np.ones((2, 3), bool))
    assert jax.tree.map(np.shape, stream) == Stream(x=(2, 3, 4), mask=(2, 3))
