"""DeBERTa v2 and v3 (He et al., 2021): attention to content and to distance.

Numbers are those of transformers' PyTorch model to 3e-5 in float32.
"""

from collections.abc import Mapping
import dataclasses
import functools
import operator
import pathlib
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import (
    attention,
    bert,
    family_config,
    layer_selection,
    parameters,
    transformer,
)
from jser.shapes import Array

_BLOCK_NAMES = bert.BLOCK_NAMES | {
    "attention/query": "attention.self.query_proj",
    "attention/key": "attention.self.key_proj",
    "attention/value": "attention.self.value_proj",
}
NAMES = {
    "words": "embeddings.word_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
    "distances": "encoder.rel_embeddings",
    "distances_norm": "encoder.LayerNorm",
    "conv": "encoder.conv.conv",
    "conv_norm": "encoder.conv.LayerNorm",
}
NAMES |= {f"first/{k}": f"encoder.layer.0.{v}" for k, v in _BLOCK_NAMES.items()}
NAMES |= {f"blocks/{k}": f"encoder.layer.{{}}.{v}" for k, v in _BLOCK_NAMES.items()}
# v3's checkpoints hold a table of positions that only their pre-training used.
PATTERN = bert.pattern("deberta", "embeddings.position_embeddings")
_KEYS = bert.KEYS | {"buckets": "position_buckets"}
_FLAGS = (
    ("hidden_act", "gelu", "gelu"),
    ("relative_attention", False, True),
    ("share_att_key", False, True),
    ("norm_rel_ebd", "none", "layer_norm"),
    ("position_biased_input", True, False),
    ("type_vocab_size", 0, 0),
)
_CONV_FLAGS = (("conv_act", "tanh", "gelu"), ("conv_groups", 1, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(bert.TextConfig):
    """What config.json says of DeBERTa."""

    buckets: int  # Distances to one side that have an embedding of their own.
    farthest: int  # Distance that the last bucket begins at.
    conv: int  # Width of the convolution beside block 0, in tokens; 0 for none.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is another kind of model or a variant not supported.
        """
        fields, config = family_config.read(folder, ("deberta-v2",), _KEYS, _FLAGS)
        where = folder / "config.json"
        with family_config.reading(folder):
            _expect_both_directions(config, where)
            conv = operator.index(config.get("conv_kernel_size", 0))
            farthest = operator.index(config.get("max_relative_positions", -1))
        if conv > 0:
            family_config.expect(config, _CONV_FLAGS, where)
        for field, least in (("layers", 2), ("buckets", 1)):
            if fields[field] < least:
                raise ValueError(
                    f"{where}: {_KEYS[field]} = {fields[field]} is not supported; the"
                    f" least is {least}."
                )
        farthest = farthest if farthest > 0 else fields["positions"]
        return cls(**fields, farthest=farthest, conv=conv)


def bucket(
    distance: Int[np.ndarray, " N"], buckets: int, farthest: int
) -> Int[np.ndarray, " N"]:
    """Distances up to `buckets / 2` as they are, greater ones by their logarithm.

    In float32 throughout, since which bucket a distance on the edge falls into depends
    on the rounding.
    """
    middle = buckets // 2
    size = np.maximum(np.abs(distance), middle).astype(np.float32)
    ratio = np.log(size / np.float32(middle)) / np.log(
        np.float32((farthest - 1) / middle)
    )
    far = np.ceil(ratio * np.float32(middle - 1)).astype(np.int32) + middle
    return np.where(np.abs(distance) <= middle, distance, np.sign(distance) * far)


def by_distance(x: Float[Array, "B A S W"]) -> Float[Array, "B A S S"]:
    """Row i of the result is row i of `x` from column S - 1 - i on; W is 2 S.

    A gather by a shift: every row of the flat array is read one element later.
    """
    *axes, S, W = x.shape
    flat = x.reshape(*axes, S * W)[..., S - 1 : S - 1 + S * (W - 1)]
    return flat.reshape(*axes, S, W - 1)[..., :S]


class DisentangledAttention(nn.Module):
    """Self-attention to content and distance, with the same projections for both.

    Attributes:
      config: The sizes.
      dtype: Of matrix products.
    """

    config: Config
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B S D"],
        mask: Bool[Array, "B S"],
        distances: Float[Array, "W1 D"],
    ) -> Float[Array, "B S D"]:
        """What every token gathers.

        `distances` are the embeddings of query - key from -S to S.
        """
        c = self.config
        query, key, value, out = (
            nn.Dense(c.width, dtype=self.dtype, name=name)
            for name in ("query", "key", "value", "out")
        )
        heads = lambda x: transformer.split_heads(x, c.heads)
        q, k, v = heads(query(x)), heads(key(x)), heads(value(x))
        far_q, far_k = heads(query(distances[1:])), heads(key(distances[:-1][::-1]))

        def scores(formula, a, b):
            return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)

        content_to_position = by_distance(scores("BSAE,WAE->BASW", q, far_k))
        position_to_content = by_distance(scores("BTAE,WAE->BATW", k, far_q))
        scale = (3 * q.shape[-1]) ** -0.5
        bias = scale * (content_to_position + position_to_content.swapaxes(2, 3))
        # A query on padding sees nothing, by which its states are Hugging Face's.
        seen = mask[:, None, :] & mask[:, :, None]
        return out(attention.attend(q, k, v, seen, bias, scale))


class Deberta(nn.Module):
    """The encoder, with all its hidden states or some.

    Attributes:
      config: The sizes.
      dtype: Of matrix products and the convolution; the rest is float32.
      layer: Which hidden states are returned, as in `layer_selection`.
      remat: Whether a gradient computes blocks again instead of keeping them.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"
    remat: bool = False

    @property
    def max_tokens(self) -> int:
        """The longest window in tokens it was trained on, specials included."""
        return self.config.positions

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "*L1 B S D"]:
        """The hidden states that `layer` asks for, float32; by default all of them.

        Padding (mask False) changes no real token. Its own states are those that
        Hugging Face's has there, which depend on how much padding there is.
        """
        c = self.config
        x = nn.Embed(c.vocab, c.width, name="words")(ids)
        x = transformer.norm(c.epsilon, "embeddings_norm")(x) * mask[..., None]
        distances = self._distances(ids.shape[1])
        block = functools.partial(
            transformer.Block, c, self.dtype, DisentangledAttention
        )
        first = block(name="first")(x, mask, distances)
        if c.conv:
            first = self._conv(x, first, mask)
        return layer_selection.run(
            block(name="blocks"),
            [x, first],
            mask,
            distances,
            layers=c.layers,
            layer=self.layer,
            remat=self.remat,
        )

    def _distances(self, S: int) -> Float[Array, "W1 D"]:
        """Embeddings of the distances from -S to S."""
        c = self.config
        table = nn.Embed(2 * c.buckets, c.width, name="distances")
        rows = bucket(np.arange(-S, S + 1), c.buckets, c.farthest) + c.buckets
        rows = np.clip(rows, 0, 2 * c.buckets - 1)
        return transformer.norm(c.epsilon, "distances_norm")(table(rows))

    def _conv(
        self,
        x: Float[Array, "B S D"],
        first: Float[Array, "B S D"],
        mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S D"]:
        """Block 0's output and a convolution of its input; 0 on padding."""
        c = self.config
        side = (c.conv - 1) // 2
        conv = nn.Conv(
            c.width,
            (c.conv,),
            padding=[(side, side)],
            dtype=self.dtype,
            name="conv",
        )
        y = transformer.gelu(jnp.where(mask[..., None], conv(x), 0))
        return transformer.norm(c.epsilon, "conv_norm")(first + y) * mask[..., None]


def load(
    folder: pathlib.Path, layer: str = "all", dtype: Any = jnp.float32
) -> tuple[Deberta, dict[str, Any]]:
    """The encoder of a checkpoint folder; arguments and errors are `bert.load`'s."""
    module = Deberta(Config.read(folder), dtype, layer)
    return module, parameters.load(
        module, bert.EXAMPLE, folder, NAMES, pattern=PATTERN, dtype=dtype, start=1
    )


def _expect_both_directions(config: Mapping[str, Any], where: pathlib.Path) -> None:
    kinds = config.get("pos_att_type") or []
    kinds = kinds.split("|") if isinstance(kinds, str) else kinds
    if sorted(kind.strip() for kind in kinds) != ["c2p", "p2c"]:
        raise ValueError(
            f"{where}: pos_att_type = {kinds!r} is not supported, only 'p2c|c2p'."
        )
