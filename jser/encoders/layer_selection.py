"""Hidden states of a transformer: which of them are wanted, and no more than those.

An encoder of L blocks has the states 0 to L: the input of the first block, then every
block's output, the last one after whatever norm ends the encoder. A choice of them is

    "last"          state L
    "0" ... "L"     that state; blocks after it are not run
    "mean_last_4"   the mean of the last four
    "2-4", "1+3+6"  those, on a new first axis: a range where they follow each other
    "all"           all of them, on a new first axis
"""

from collections.abc import Callable, Sequence
import re
from typing import Any

from flax import linen as nn
import jax.numpy as jnp

from jser.shapes import Array

MEAN_OF = 4


def check(layer: str, layers: int) -> None:
    """Raises ValueError if an encoder of so many blocks does not have that choice."""
    enough = layers + 1 >= MEAN_OF
    if layer in ("last", "all") or (layer == f"mean_last_{MEAN_OF}" and enough):
        return
    states = named(layer)
    if not states or max(states) > layers:
        mean = f"mean_last_{MEAN_OF}, " if enough else ""
        raise ValueError(
            f"layer={layer!r} is not one of last, {mean}all, 0 to {layers}, or some of"
            " these as 2-4 or 1,3,6."
        )
    if (known_as := canonical(layer)) != layer:
        raise ValueError(f"layer={layer!r} is written {known_as!r}.")


def named(layer: str) -> tuple[int, ...]:
    """The states that a choice names by number, in order; () of other choices."""
    states: set[int] = set()
    for piece in re.split(r"[,+]", layer):
        first, _, last = piece.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return ()
        states.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(states))


def canonical(layer: str) -> str:
    """The one way to write a choice: "2-4" of "4,2,3", "1+3+6" of "1,3,6"."""
    states = named(layer)
    if len(states) > 1 and states == tuple(range(states[0], states[-1] + 1)):
        return f"{states[0]}-{states[-1]}"
    return "+".join(map(str, states)) or layer


def count(layer: str, layers: int) -> int:
    """How many states an encoder of so many blocks returns by that choice."""
    return layers + 1 if layer == "all" else len(named(layer)) or 1


def depth(layer: str, layers: int) -> int:
    """How many of the blocks have to run."""
    return max(named(layer), default=layers)


def run(
    block: nn.Module,
    known: Sequence[Array],
    *shared: Any,
    layers: int,
    layer: str,
    norm: Callable[[Array], Array] | None = None,
    remat: bool = False,
) -> Array:
    """Runs the blocks, compiled as one, and returns the chosen states.

    Args:
      block: Called with the stream and with what all blocks share; its parameters are
        those of all blocks, stacked.
      known: The states that are there already, at least the first, [B, T, D].
      *shared: Further arguments of every block.
      layers: Blocks of the encoder, those behind `known` included.
      layer: One of this module's choices.
      norm: Of the last state.
      remat: Whether a gradient keeps nothing of a block but its input, and computes
        the rest again. It changes no number, and nothing without a gradient.

    Returns:
      [B, T, D], or [K, B, T, D] of a choice of K states.
    """
    stop, ran = depth(layer, layers), len(known) - 1
    some = named(layer)
    if stop < ran or stop == ran < layers:
        return jnp.stack([known[i] for i in some]) if len(some) > 1 else known[stop]
    keep, mean = layer == "all" or len(some) > 1, layer.startswith("mean")
    weight = 1.0 * (jnp.arange(ran + 1, layers) > layers - MEAN_OF)
    weight = jnp.append(weight, 0.0)  # The last state is added after its norm.

    def body(block, carry, weight, *shared):
        x, total = carry
        x = block(x, *shared)
        return (x, total + weight * x if mean else total), x if keep else None

    total = jnp.zeros(known[0].shape if mean else ())
    if mean:
        total = sum(known[max(layers + 1 - MEAN_OF, 0) :], total)
    if remat:
        # A loop's body is compiled apart: nothing there could undo it.
        body = nn.remat(body, prevent_cse=False)
    axes: Any = (0, *(nn.broadcast for _ in shared))
    scan: Any = nn.scan(
        body,
        variable_axes={True: 0},  # Whatever else a block is given lies in stacks, too.
        split_rngs={"params": True},
        in_axes=axes,
        length=stop - ran,
    )
    carry = (known[-1], total)
    (last, total), states = scan(block, carry, weight[: stop - ran], *shared)
    if norm is not None and stop == layers:
        last = norm(last)
    if keep:
        all_of_them = jnp.concatenate([jnp.stack(known), states[:-1], last[None]])
        return all_of_them[jnp.array(some)] if some else all_of_them
    return (total + last) / MEAN_OF if mean else last
