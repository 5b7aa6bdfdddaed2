"""LoRA (Hu et al., 2022): low-rank adapters of an encoder that knows nothing of them.

    adapter = lora.init(lora.Recipe(rank=16), variables["params"], jax.random.key(0))
    states = lora.apply(module, variables, adapter, *arguments)

A dense layer of kernel W then computes x W + scale (x A) B. Only A and B are trained:
they are the leaves of the adapter, and what a gradient is taken of.

The low-rank product stands beside the frozen one. Adding A B to W instead would take
the gradient of all of W, and in bfloat16 round away whatever is small beside W.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import re
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp

from jser.shapes import Array

_COLLECTION = "lora"
_BLOCKS = "blocks"  # Parameters below it are stacked: L blocks on a first axis.

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which kernels are adapted, and by how much.

    Attributes:
      rank: Columns of A and rows of B.
      alpha: The scale is alpha / rank.
      targets: Regular expression of dense layers, as their paths in the parameters; by
        default the feed-forward. In transformers, WavLM's attention passes over an
        adapter of its query, key, value or out until it is merged into the weights.
      upper: Which share of the blocks, from the last one down.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: str = "blocks/(up|down)"
    upper: float = 0.5

    def __post_init__(self):
        """Refuses what makes no adapter."""
        if self.rank < 1:
            raise ValueError(f"rank={self.rank} must be at least 1.")
        if not 0 < self.upper <= 1:
            raise ValueError(f"upper={self.upper} must be above 0 and at most 1.")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adapter:
    """What was learned, or is to be.

    Attributes:
      factors: By the dense layer's path in the parameters, "a" [N, in, rank] and "b"
        [N, rank, out], float32, of the last N blocks; without N outside of the blocks.
      scale: Of their product.
    """

    factors: dict[str, Any]
    scale: float = dataclasses.field(metadata={"static": True})


def init(recipe: Recipe, params: Mapping[str, Any], key: jax.Array) -> Adapter:
    """An adapter that changes nothing yet: A as PEFT draws it, B zero.

    Args:
      recipe: What to adapt.
      params: The encoder's, or their shapes.
      key: Of the random numbers.

    Raises:
      ValueError: if `targets` names no dense layer.
    """
    kernels = dict(dense_kernels(params))
    chosen = [p for p in kernels if re.fullmatch(recipe.targets, "/".join(p))]
    if not chosen:
        known = ", ".join(sorted("/".join(path) for path in kernels))
        raise ValueError(f"targets={recipe.targets!r} is none of {known}.")
    factors = {}
    for path, one in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        *stack, wide, out = kernels[path].shape
        stack = [math.ceil(recipe.upper * blocks) for blocks in stack]
        bound = 1 / math.sqrt(wide)
        a = jax.random.uniform(one, (*stack, wide, recipe.rank), None, -bound, bound)
        factors[path] = {"a": a, "b": jnp.zeros((*stack, recipe.rank, out))}
    scale = recipe.alpha / recipe.rank
    return Adapter(traverse_util.unflatten_dict(factors), scale)


def dense_kernels(params: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Path and kernel of every dense layer: [in, out], or [L, in, out] of blocks."""
    leaves: dict[Path, Any] = traverse_util.flatten_dict(params)
    for (*path, leaf), x in leaves.items():
        if leaf == "kernel" and x.ndim == (3 if path[0] == _BLOCKS else 2):
            yield tuple(path), x


def of_layers(adapter: Adapter) -> dict[Path, tuple[Array, Array]]:
    """A and B by the path of the dense layer."""
    flat: dict[Path, Any] = traverse_util.flatten_dict(adapter.factors)
    paths = dict.fromkeys(path[:-1] for path in flat)
    return {path: (flat[(*path, "a")], flat[(*path, "b")]) for path in paths}


def apply(
    module: nn.Module, variables: Mapping[str, Any], adapter: Adapter, *arguments: Any
) -> Any:
    """`module.apply(variables, *arguments)` with the adapter.

    Args:
      module: Any of the encoders'.
      variables: Frozen, of whatever dtype.
      adapter: Its products are in the dtype of the layers that it adapts.
      *arguments: The module's.
    """
    kernels = dict(dense_kernels(variables["params"]))
    stacks = {}
    for path, factors in of_layers(adapter).items():
        # Blocks below have zeros, since all of them are one loop.
        below = kernels[path].shape[0] - factors[0].shape[0]
        pad = [(below, 0), (0, 0), (0, 0)] if kernels[path].ndim == 3 else 0
        stacks |= {
            (*path, k): jnp.pad(x, pad) for k, x in zip("ab", factors, strict=True)
        }

    def add(call, args, kwargs, context):
        y, layer = call(*args, **kwargs), context.module
        if not (isinstance(layer, nn.Dense) and layer.has_variable(_COLLECTION, "a")):
            return y
        a, b = (layer.get_variable(_COLLECTION, k).astype(y.dtype) for k in "ab")
        return y + adapter.scale * (args[0].astype(y.dtype) @ a @ b)

    lifted = {**variables, _COLLECTION: traverse_util.unflatten_dict(stacks)}
    with nn.intercept_methods(add):
        return module.apply(lifted, *arguments)


def merge(variables: Mapping[str, Any], adapter: Adapter) -> dict[str, Any]:
    """The variables with the adapter in their kernels, whose dtypes stay.

    bfloat16 rounds away what is small beside a kernel: merge into float32.
    """
    flat: dict[Path, Any] = traverse_util.flatten_dict(variables["params"])
    for path, (a, b) in of_layers(adapter).items():
        kernel = flat[(*path, "kernel")]
        change = adapter.scale * jnp.matmul(a, b, precision="highest")
        above = slice(-len(a), None) if kernel.ndim == 3 else slice(None)
        merged = kernel[above].astype(jnp.float32) + change
        flat[(*path, "kernel")] = kernel.at[above].set(merged.astype(kernel.dtype))
    return {**variables, "params": traverse_util.unflatten_dict(flat)}
