"""What the text encoders share: the body of a block, and checkpoints into parameters.

Matmuls run in `Sizes.dtype`. Whatever that is, the residual stream, LayerNorm,
attention's scores and softmax are float32, and so are the hidden states returned.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float
import numpy as np

from jser.shapes import Array

# Names in the parameters, and what the same is called in a checkpoint.
BLOCK_NAMES = {
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "out": "output.dense",
    "out_norm": "output.LayerNorm",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What `config.json` says of any encoder of the BERT kind."""

    width: int  # D.
    layers: int  # L.
    heads: int
    inner: int  # Width inside the feed-forward.
    vocab: int
    positions: int
    epsilon: float
    pad: int
    dtype: Any


def read_sizes(config: Mapping[str, Any], **more: str) -> dict[str, Any]:
    """The arguments of `Sizes` but for `dtype`; `more` are fields and their keys.

    Raises:
      ValueError: if the config lacks one, or heads do not divide the width.
    """
    keys = {
        "width": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "inner": "intermediate_size",
        "vocab": "vocab_size",
        "positions": "max_position_embeddings",
        "epsilon": "layer_norm_eps",
        "pad": "pad_token_id",
    } | more
    if missing := [key for key in keys.values() if config.get(key) is None]:
        raise ValueError(f"the encoder's config lacks {', '.join(missing)}.")
    sizes = {field: config[key] for field, key in keys.items()}
    if sizes["width"] % sizes["heads"]:
        raise ValueError(
            f"{sizes['heads']} heads do not divide the width {sizes['width']}."
        )
    return sizes


def expect(config: Mapping[str, Any], flags: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuses a variant of the architecture that is not written here.

    Args:
      config: `config.json`.
      flags: Key, what its absence means to Hugging Face, and the value that is known.

    Raises:
      ValueError: if a flag has another value.
    """
    for key, absent, known in flags:
        if (value := config.get(key, absent)) != known:
            raise ValueError(f"only {key}={known!r} is implemented, not {value!r}.")


def dense(c: Sizes, features: int, name: str) -> nn.Dense:
    """A projection, kept and computed in the type of the matmuls."""
    return nn.Dense(features, dtype=c.dtype, param_dtype=c.dtype, name=name)


def norm(c: Sizes, name: str) -> nn.LayerNorm:
    """LayerNorm in float32, by the variance's accurate form as in PyTorch."""
    return nn.LayerNorm(
        epsilon=c.epsilon, dtype=jnp.float32, use_fast_variance=False, name=name
    )


def split_heads(c: Sizes, x: Float[Array, "*B S D"]) -> Float[Array, "*B S H d"]:
    """The last axis as heads."""
    return x.reshape(*x.shape[:-1], c.heads, -1)


def attend(
    scores: Float[Array, "B H S S"],
    value: Float[Array, "B S H d"],
    mask: Bool[Array, "B 1 _ S"],
) -> Float[Array, "B S D"]:
    """What each query gathers. A query that may see nothing sees everything alike."""
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    p = nn.softmax(scores).astype(value.dtype)
    context = jnp.einsum("bhqk,bkhd->bqhd", p, value)
    return context.reshape(*context.shape[:2], -1)


def rest_of_block(
    c: Sizes, x: Float[Array, "B S D"], context: Float[Array, "B S D"]
) -> Float[Array, "B S D"]:
    """All of a block that follows attention; norms come after the sums."""
    x = norm(c, "attention_norm")(x + dense(c, c.width, "attention_out")(context))
    inner = nn.gelu(dense(c, c.inner, "inner")(x), approximate=False)
    return norm(c, "out_norm")(x + dense(c, c.width, "out")(inner))


def parameters(
    module: nn.Module,
    tensors: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    *,
    prefix: str,
    ignored: tuple[str, ...],
) -> dict[str, Any]:
    """The module's variables from a checkpoint's tensors, on the default device.

    Args:
      module: The encoder. Its blocks are in "blocks", stacked; if it has "first" too,
        that is block 0, and the stack begins with block 1.
      tensors: By the names of Hugging Face, of any floating type.
      names: From the module's names to the checkpoint's, which for those inside a
        block come after "encoder.layer.<i>.".
      prefix: What tensors' names may begin with, or not.
      ignored: Beginnings, after the prefix, of names that are no part of the encoder.

    Raises:
      ValueError: if a tensor is missing, left over, or of another shape.
    """
    found = {k.removeprefix(prefix): v for k, v in tensors.items()}
    found = {k: v for k, v in found.items() if not k.startswith(ignored)}
    ids = np.zeros((1, 2), np.int32)
    tree = jax.eval_shape(module.init, jax.random.key(0), ids, ids == 0)["params"]
    wanted: dict[Any, Any] = traverse_util.flatten_dict(tree)
    start = int("first" in tree)
    sources = {k: _sources(k, v, names, start) for k, v in wanted.items()}
    _refuse_other_names(set(found), {n for source in sources.values() for n in source})
    params = {}
    for path, want in wanted.items():
        stacked = path[0] == "blocks"
        shape = want.shape[1:] if stacked else want.shape
        leaves = [_leaf(name, path[-1], found[name], shape) for name in sources[path]]
        value = np.stack(leaves) if stacked else leaves[0]
        params[path] = jnp.asarray(value.astype(want.dtype))
    return {"params": traverse_util.unflatten_dict(params)}


def _sources(
    path: tuple[str, ...], want: Any, names: Mapping[str, str], start: int
) -> list[str]:
    """The checkpoint's names of one parameter; of a stack, one per block."""
    *_, module, kind = path
    name = f"{names[module]}.{'bias' if kind == 'bias' else 'weight'}"
    blocks = {"first": range(1), "blocks": range(start, start + want.shape[0])}
    if path[0] not in blocks:
        return [name]
    return [f"encoder.layer.{i}.{name}" for i in blocks[path[0]]]


def _refuse_other_names(found: set[str], wanted: set[str]) -> None:
    problems = [
        f"{what} {', '.join(sorted(keys)[:8])}"
        + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
        for what, keys in (("lacks", wanted - found), ("also has", found - wanted))
        if keys
    ]
    if problems:
        raise ValueError(
            f"the checkpoint is not as expected: it {'; '.join(problems)}."
        )


def _leaf(
    name: str, kind: str, tensor: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """A tensor with the axes in Flax's order: PyTorch puts the output's first."""
    value = tensor.T if kind == "kernel" else tensor
    if value.shape != shape:
        raise ValueError(
            f"{name} has the shape {tensor.shape}; by the config it is "
            f"{shape[::-1] if kind == 'kernel' else shape}."
        )
    return value
