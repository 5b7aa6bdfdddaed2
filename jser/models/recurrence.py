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

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import layers, recurrence_batch_major, recurrence_time_major
from jser.models.recurrence_time_major import Stream
from jser.shapes import Array

_ALIKE = 0.75  # Of the longest stream of a loop, what others have at least.
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

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The states of both directions after every frame; on padding meaningless."""
        return bidirectional(self.dtype, [self.inputs(x, mask)])[0]

    @nn.compact
    def inputs(self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Stream:
        """Its part of what `bidirectional` takes."""
        names = ("forward", "backward")
        params = [_Direction(self.features, name=n)(x.shape[-1]) for n in names]
        join = lambda key, i: jnp.stack([p[key][i] for p in params])
        # On padding the update gates are open and keep the state exactly, so that the
        # backward direction reaches the last real frame with state 0.
        hold_BT = jnp.where(mask, 0.0, _KEEP).astype(x.dtype)
        ih, hh = ((join(key, 0), join(key, 1)) for key in ("ih", "hh"))
        return x, hold_BT, ih, hh


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


def bidirectional(dtype: str, streams: Sequence[Stream]) -> list[Array]:
    """The states of both directions after every frame, side by side, of each stream.

    Args:
      dtype: Precision of the products; sums and states are float32 (wider, if frames
        are).
      streams: Of each: frames [B, T, D]; what is added to its update gates [B, T],
        which has no gradient; kernel [2, D, G] and bias [2, G] of the input, forward
        direction, backward direction; those of the state, [2, H, G] and [2, G]. B and
        H are those of all.

    Returns:
      States [B, T, 2 H] in the order of time; the backward direction's first state is
      its last.
    """

    def by_frames(*streams):
        return [recurrence_batch_major.bidirectional(dtype, *s) for s in streams]

    def by_steps(*streams):
        states: dict[int, Array] = {}
        for some in _alike([s[0].shape[1] for s in streams]):
            chosen = [streams[k] for k in some]
            made: Any = recurrence_time_major.bidirectional(dtype, *chosen)
            states |= dict(zip(some, made, strict=True))
        return [states[k] for k in range(len(streams))]

    return lax.platform_dependent(*streams, cpu=by_frames, default=by_steps)


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Groups of streams whose loops are worth being one, by their numbers.

    Beside a longer stream a shorter one is computed on nothing to its end.
    """
    groups: list[list[int]] = []
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        if groups and lengths[k] >= _ALIKE * lengths[groups[-1][0]]:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups
