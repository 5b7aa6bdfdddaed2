"""A checkpoint's tensors as a module's parameters: one mapper for all families.

A family says what its parameters are called in a checkpoint of Hugging Face:

    NAMES = {
        "projection": "feature_projection.projection",            # A module,
        "conv/conv_{}": "feature_extractor.conv_layers.{}.conv",  # some with numbers,
        "blocks/up": "encoder.layers.{}.fc1",                     # of each block,
        "position": "embed_positions.weight",                     # or a parameter.
    }

All else follows from the module: the shapes, which axes are swapped, what is stacked.
What has no entry is called in the checkpoint as it is here, with dots.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import pathlib
import re
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jser.encoders import weights

_WEIGHTS = ("kernel", "scale", "embedding")  # Flax's names of PyTorch's `weight`.
_WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
_SHOWN = 4  # Names in an error.

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Naming:
    """How a family's parameters are called in Hugging Face's files."""

    names: Mapping[str, str]  # The family's `NAMES`.
    pattern: str  # As in `load`.
    prefix: str = ""  # Of the names in the bare model of transformers' AutoModel.
    start: int = 0  # Number of the block that a stack begins with.


def load(
    module: nn.Module,
    arguments: tuple[np.ndarray, ...],
    folder: pathlib.Path,
    names: Mapping[str, str],
    *,
    pattern: str,
    dtype: Any = jnp.float32,
    start: int = 0,
    method: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """The variables of an encoder, on the default device.

    Args:
      module: If it has an attribute `layer`, of blocks that it does not run for that
        layer no parameters are made.
      arguments: Any that the module can be called with.
      folder: The checkpoint's.
      names: The family's `NAMES`.
      pattern: Tensors are read whose names it matches from their start; what it
        matches is left out of the names.
      dtype: Of matrix kernels; everything else is float32.
      start: Number of the block that a stack begins with.
      method: What to call the module by, if not `__call__`.

    Raises:
      FileNotFoundError: if there are no weights.
      ValueError: if a tensor is missing, left over or of another shape.
    """
    tensors = weights.read_tensors(folder, pattern)
    cut = re.compile(pattern)
    tensors = {cut.sub("", name, count=1): x for name, x in tensors.items()}
    fold_weight_norm(tensors, folder)
    tree = of_whole = shapes(module, *arguments, method=method)
    if getattr(module, "layer", "all") != "all":
        whole = module.clone(layer="all")
        of_whole = shapes(whole, *arguments, method=method)
    _refuse_other_names(set(tensors), of_whole, names, start, folder)
    return {"params": fill(tree, tensors, names, folder, dtype=dtype, start=start)}


def shapes(
    module: nn.Module, *arguments: Any, method: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """The module's parameters without their values, by nothing but its code."""
    init = functools.partial(module.init, method=method)
    return jax.eval_shape(init, jax.random.key(0), *arguments)["params"]


def fill(
    tree: Tree,
    tensors: dict[str, np.ndarray],
    names: Mapping[str, str],
    source: pathlib.Path,
    *,
    dtype: Any = jnp.float32,
    start: int = 0,
) -> dict[str, Any]:
    """`shapes` with values; tensors that were used are taken out of `tensors`.

    Raises:
      ValueError: if a tensor is missing or of another shape, naming `source`.
    """
    leaves: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(tree)
    wanted = {path: names_of(path, x, names, start) for path, x in leaves.items()}
    _refuse_missing({n for of, _ in wanted.values() for n in of}, tensors, source)
    params = {}
    for path, (of, stacked) in wanted.items():
        leaf, shape = path[-1], leaves[path].shape
        shape = shape[1:] if stacked else shape
        rows = [_array(n, tensors.pop(n), leaf, shape, source) for n in of]
        value = np.stack(rows) if stacked else rows[0]
        kind = dtype if leaf == "kernel" else jnp.float32
        params[path] = jnp.asarray(value, kind)
    return traverse_util.unflatten_dict(params)


def fold_weight_norm(tensors: dict[str, np.ndarray], source: pathlib.Path) -> None:
    """Makes one kernel of every magnitude and direction, in old names and in new ones.

    Raises:
      ValueError: if there is one without the other.
    """
    for pair in _WEIGHT_NORM:
        ends = tuple(f".{end}" for end in pair)
        whole = {n.removesuffix(e) for n in tensors for e in ends if n.endswith(e)}
        for name in sorted(whole):
            _refuse_missing({name + end for end in ends}, tensors, source)
            g, v = (tensors.pop(name + end) for end in ends)
            axes = tuple(axis for axis, size in enumerate(g.shape) if size == 1)
            length = np.sqrt(np.square(v).sum(axes, keepdims=True))
            tensors[f"{name}.weight"] = v * (g / length)


def parts_of(
    name: str, value: np.ndarray, names: Mapping[str, str], source: pathlib.Path
) -> list[tuple[str, np.ndarray]]:
    """A weight as a checkpoint has it: itself, or its magnitude and direction.

    Args:
      name: Of the weight.
      value: In PyTorch's layout.
      names: Those that the checkpoint has, and where in it.
      source: For the error.

    Raises:
      ValueError: if it has neither.
    """
    if name in names:
        return [(name, value)]
    stem = name.removesuffix(".weight")
    for g, v in _WEIGHT_NORM:
        if {f"{stem}.{g}", f"{stem}.{v}"} <= set(names):
            # PyTorch's weight_norm(dim=2) of a convolution of positions, in all models.
            length = np.sqrt(np.square(value).sum((0, 1), keepdims=True))
            return [(f"{stem}.{g}", length), (f"{stem}.{v}", value)]
    raise ValueError(f"{source}: the weights lack {name}.")


def names_of(
    path: tuple[str, ...], leaf: Any, names: Mapping[str, str], start: int
) -> tuple[list[str], bool]:
    """The checkpoint's names of a parameter, and whether they are rows of a stack."""
    *modules, kind = path
    end = ".weight" if kind in _WEIGHTS else f".{kind}"
    for ours, tail in (("/".join(path), ""), ("/".join(modules), end)):
        numbers = re.findall(r"\d+", ours)
        theirs = names.get(re.sub(r"\d+", "{}", ours))
        if theirs is None:
            continue
        if theirs.count("{}") == len(numbers):
            return [theirs.format(*numbers) + tail], False
        rows = range(start, start + leaf.shape[0])
        return [theirs.format(*numbers, row) + tail for row in rows], True
    return [".".join(modules) + end], False


def _array(
    name: str,
    tensor: np.ndarray,
    leaf: str,
    shape: tuple[int, ...],
    source: pathlib.Path,
) -> np.ndarray:
    """A tensor with its axes in Flax's order: PyTorch puts a kernel's output first."""
    value = tensor.T if leaf == "kernel" else tensor
    if value.shape != shape:
        wanted = shape[::-1] if leaf == "kernel" else shape
        raise ValueError(
            f"{source}: {name} has the shape {tensor.shape}; by the config it is"
            f" {wanted}."
        )
    return value


def _refuse_missing(wanted: set[str], tensors: Mapping, source: pathlib.Path) -> None:
    if missing := wanted.difference(tensors):
        raise ValueError(
            f"{source}: the weights lack {some(missing)}. They are of another model"
            " than config.json says, or not fetched whole."
        )


def _refuse_other_names(
    have: set[str],
    tree: Tree,
    names: Mapping[str, str],
    start: int,
    source: pathlib.Path,
) -> None:
    leaves = traverse_util.flatten_dict(tree).items()
    wanted = {n for path, x in leaves for n in names_of(path, x, names, start)[0]}
    _refuse_missing(wanted, dict.fromkeys(have), source)
    if others := have - wanted:
        raise ValueError(
            f"{source}: no place for {some(others)}. This kind of model is not"
            " supported."
        )


def some(names: set[str]) -> str:
    """The first few of them, for an error."""
    shown = sorted(names)[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
