"""DeBERTa v2 and v3 (He et al., 2021), parity-tested with Hugging Face's."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import bert_blocks, layer_selection
from jser.shapes import Array

_NAMES = bert_blocks.BLOCK_NAMES | {
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
    "words": "embeddings.word_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
    "distances": "encoder.rel_embeddings",
    "distances_norm": "encoder.LayerNorm",
    "conv": "encoder.conv.conv",
    "conv_norm": "encoder.conv.LayerNorm",
}
_NO_PART = (
    "cls.",
    "lm_predictions.",
    "mask_predictions.",
    "pooler.",
    "classifier.",
    "embeddings.position_ids",
    # v3's checkpoints hold a table that only their pre-training used.
    "embeddings.position_embeddings.",
)
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
class Sizes(bert_blocks.Sizes):
    """DeBERTa's sizes."""

    buckets: int  # Distances to one side that have an embedding of their own.
    farthest: int  # Distance that the last bucket begins at.
    conv: int  # Width of the convolution beside block 0, in tokens; 0 for none.


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


def by_distance(x: Float[Array, "B H S W"]) -> Float[Array, "B H S S"]:
    """Row i of the result is row i of `x` from column S - 1 - i on; W is 2 S.

    A gather by a shift: every row of the flat array is read one element later.
    """
    *axes, S, W = x.shape
    flat = x.reshape(*axes, S * W)[..., S - 1 : S - 1 + S * (W - 1)]
    return flat.reshape(*axes, S, W - 1)[..., :S]


class Block(nn.Module):
    """Self-attention to content and distance, and feed-forward."""

    c: Sizes

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B S D"],
        mask: Bool[Array, "B S"],
        distances: Float[Array, "W1 D"],
    ) -> Float[Array, "B S D"]:
        """The stream after the block.

        `distances` are the embeddings of query - key from -S to S.
        """
        c = self.c
        query, key, value = (
            bert_blocks.dense(c, c.width, name) for name in ("query", "key", "value")
        )
        q, k, v = (bert_blocks.split_heads(c, f(x)) for f in (query, key, value))
        # The same projections serve the distances (`share_att_key`).
        far_q = bert_blocks.split_heads(c, query(distances[1:]))
        far_k = bert_blocks.split_heads(c, key(distances[:-1][::-1]))

        def scores(formula, a, b):
            return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)

        content = scores("bqhd,bkhd->bhqk", q, k)
        content_to_position = by_distance(scores("bqhd,whd->bhqw", q, far_k))
        position_to_content = by_distance(scores("bkhd,whd->bhkw", k, far_q))
        total = content + content_to_position + position_to_content.swapaxes(2, 3)
        total /= math.sqrt(3 * q.shape[-1])
        # A query on padding sees nothing, by which its states are Hugging Face's.
        seen = mask[:, None, None, :] & mask[:, None, :, None]
        return bert_blocks.rest_of_block(c, x, bert_blocks.attend(total, v, seen))


class Deberta(nn.Module):
    """The encoder; made by `load`. `layer` chooses hidden states, as in `hidden`."""

    c: Sizes
    layer: str = "all"

    @property
    def max_tokens(self) -> int:
        """The longest window in tokens it was trained on, specials included."""
        return self.c.positions

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "*L1 B S D"]:
        """The hidden states that `layer` asks for, float32; by default all of them.

        Padding (mask False) changes no real token. Its own states are those that
        Hugging Face's has there, which depend on how much padding there is.
        """
        c = self.c
        x = nn.Embed(c.vocab, c.width, name="words")(ids)
        x = bert_blocks.norm(c, "embeddings_norm")(x) * mask[..., None]
        distances = self._distances(ids.shape[1])
        first = Block(c, name="first")(x, mask, distances)
        if c.conv:
            first = self._conv(x, first, mask)
        return layer_selection.run(
            Block(c, name="blocks"),
            [x, first],
            mask,
            distances,
            layers=c.layers,
            layer=self.layer,
        )

    def _distances(self, S: int) -> Float[Array, "W1 D"]:
        """Embeddings of the distances from -S to S."""
        c = self.c
        table = nn.Embed(2 * c.buckets, c.width, name="distances")
        rows = bucket(np.arange(-S, S + 1), c.buckets, c.farthest) + c.buckets
        rows = np.clip(rows, 0, 2 * c.buckets - 1)
        return bert_blocks.norm(c, "distances_norm")(table(rows))

    def _conv(
        self,
        x: Float[Array, "B S D"],
        first: Float[Array, "B S D"],
        mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S D"]:
        """Block 0's output and a convolution of its input; 0 on padding."""
        c = self.c
        side = (c.conv - 1) // 2
        conv = nn.Conv(
            c.width,
            (c.conv,),
            padding=[(side, side)],
            dtype=c.dtype,
            param_dtype=c.dtype,
            name="conv",
        )
        y = nn.gelu(jnp.where(mask[..., None], conv(x), 0), approximate=False)
        return bert_blocks.norm(c, "conv_norm")(first + y) * mask[..., None]


def load(
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    dtype: Any = jnp.float32,
) -> tuple[Deberta, dict[str, Any]]:
    """The encoder of a checkpoint, and its variables on the default device.

    Args:
      tensors: By the names of Hugging Face, with or without "deberta." before them;
        heads and pooler are left out.
      config: The checkpoint's `config.json`.
      dtype: Of the matmuls and their weights; float32, or bfloat16. The rest is
        float32.

    Raises:
      ValueError: if a tensor is missing, left over or of another shape, or the config
        lacks a size or asks for a variant that is not written here.
    """
    bert_blocks.expect(config, _FLAGS)
    _expect_both_directions(config)
    conv = config.get("conv_kernel_size", 0)
    if conv > 0:
        bert_blocks.expect(config, _CONV_FLAGS)
    sizes = bert_blocks.read_sizes(config, buckets="position_buckets")
    if sizes["layers"] < 2:
        raise ValueError("only encoders of two blocks or more are implemented.")
    if sizes["buckets"] < 1:
        raise ValueError("only encoders with position_buckets are implemented.")
    farthest = config.get("max_relative_positions", -1)
    module = Deberta(
        Sizes(
            **sizes,
            farthest=farthest if farthest > 0 else sizes["positions"],
            conv=conv,
            dtype=dtype,
        )
    )
    params = bert_blocks.parameters(
        module, tensors, _NAMES, prefix="deberta.", ignored=_NO_PART
    )
    return module, params


def _expect_both_directions(config: Mapping[str, Any]) -> None:
    kinds = config.get("pos_att_type") or []
    kinds = kinds.split("|") if isinstance(kinds, str) else kinds
    if sorted(kind.strip() for kind in kinds) != ["c2p", "p2c"]:
        raise ValueError(f"only pos_att_type='p2c|c2p' is implemented, not {kinds!r}.")
