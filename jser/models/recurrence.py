"""A bidirectional GRU, with hand-written scans and backward passes.

Autodiff of a scan saves every intermediate of every step and adds up the weight
gradient one small product at a time, and `nn.scan` can only lift a step that autodiff
goes through. So the scan is `lax.scan` over plain arrays under a custom gradient. There
are two, equal but for rounding, and what a program is compiled for decides: on a CPU
bytes count, on accelerators how many pieces a step is launched in. The plain form, by
`nn.scan`, is recurrence_reference.py; the tests compare the three.

There is no kernel of our own for GPUs: at H = 512 the recurrent weights (1.5 MB in
bfloat16 per direction) do not fit one multiprocessor, so that a kernel would stream
them from the cache at every step as XLA's loop does.
"""

import functools

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import layers, recurrence_batch_major, recurrence_time_major
from jser.shapes import Array

_KEEP = 1e4  # Added to an update gate, it makes the gate 1 exactly.


class BiGru(nn.Module):
    """A GRU per direction, side by side, with PyTorch's gate order and two biases.

    Both biases are kept although they add up: under Adam two of them move twice as fast
    as one.

    Attributes:
      features: Width of one direction, H.
      dtype: Precision of the products; the state is float32.
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The states of both directions after every frame; on padding meaningless."""
        names = ("forward", "backward")
        params = [_Direction(self.features, name=n)(x.shape[-1]) for n in names]
        join = lambda key, i: jnp.stack([p[key][i] for p in params])
        # On padding the update gates are open and keep the state exactly, so that the
        # backward direction reaches the last real frame with state 0.
        hold_BT = jnp.where(mask, 0.0, _KEEP).astype(x.dtype)
        ih, hh = ((join(key, 0), join(key, 1)) for key in ("ih", "hh"))
        return bidirectional(self.dtype, x, hold_BT, ih, hh)


class _Direction(nn.Module):
    """The parameters of one direction; both kernels are drawn by the hidden size."""

    features: int

    @nn.compact
    def __call__(self, width: int) -> dict[str, tuple[Array, Array]]:
        H, init = self.features, layers.uniform(self.features**-0.5)
        return {
            "ih": layers.LinearParams(3 * H, init, init, name="ih")(width),
            "hh": _Step(H, name="step")(),
        }


class _Step(nn.Module):
    """The recurrent ones, under the name that a scanned step would give them."""

    features: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        H, init = self.features, layers.uniform(self.features**-0.5)
        return layers.LinearParams(3 * H, init, init, name="hh")(H)


def bidirectional(
    dtype: str,
    x: Float[Array, "B T D"],
    hold: Float[Array, "B T"],
    ih: tuple[Float[Array, "2 D G"], Float[Array, "2 G"]],
    hh: tuple[Float[Array, "2 H G"], Float[Array, "2 G"]],
) -> Float[Array, "B T H2"]:
    """The states of both directions after every frame, side by side.

    Args:
      dtype: Precision of the products; sums and states are float32 (wider, if `x` is).
      x: Frames.
      hold: Added to the update gates; it has no gradient.
      ih: Kernels and biases of the input; forward direction, backward direction.
      hh: Those of the state.

    Returns:
      States in the order of time; the backward direction's first state is its last.
    """
    by_frames, by_steps = (
        functools.partial(loop.bidirectional, dtype)
        for loop in (recurrence_batch_major, recurrence_time_major)
    )
    return lax.platform_dependent(x, hold, ih, hh, cpu=by_frames, default=by_steps)
