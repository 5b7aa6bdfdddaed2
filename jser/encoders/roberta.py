"""RoBERTa (Liu et al., 2019), parity-tested with Hugging Face's."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import attention, bert_blocks, layer_selection
from jser.shapes import Array

_NAMES = bert_blocks.BLOCK_NAMES | {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
}
_NO_PART = (
    "lm_head.",
    "pooler.",
    "cls.",
    "classifier.",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
)
_FLAGS = (
    ("hidden_act", "gelu", "gelu"),
    ("position_embedding_type", "absolute", "absolute"),
    ("is_decoder", False, False),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes(bert_blocks.Sizes):
    """RoBERTa's sizes. Positions count from `pad + 1`, and padding sits at `pad`."""

    types: int  # Token types; all tokens are of the first.


class Block(nn.Module):
    """Self-attention and feed-forward."""

    c: Sizes

    @nn.compact
    def __call__(
        self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "B S D"]:
        """The stream after the block."""
        c = self.c
        q, k, v = (
            bert_blocks.split_heads(c, bert_blocks.dense(c, c.width, name)(x))
            for name in ("query", "key", "value")
        )
        return bert_blocks.rest_of_block(c, x, attention.attend(q, k, v, mask))


class Roberta(nn.Module):
    """The encoder; made by `load`. `layer` chooses hidden states, as in `hidden`."""

    c: Sizes
    layer: str = "all"

    @property
    def max_tokens(self) -> int:
        """The longest window in tokens, specials included; padding may go beyond."""
        return self.c.positions - self.c.pad - 1

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "*L1 B S D"]:
        """The hidden states that `layer` asks for, float32; by default all of them.

        Padding (id `pad`, mask False) changes no real token. Its own states are those
        that Hugging Face's has there. Tokens after the first `max_tokens` make NaNs.
        """
        c = self.c
        live = (ids != c.pad).astype(jnp.int32)
        positions = jnp.cumsum(live, axis=1) * live + c.pad
        x = (
            nn.Embed(c.vocab, c.width, name="words")(ids)
            + nn.Embed(c.types, c.width, name="types")(jnp.zeros_like(ids))
            + nn.Embed(c.positions, c.width, name="positions")(positions)
        )
        x = bert_blocks.norm(c, "embeddings_norm")(x)
        blocks = Block(c, name="blocks")
        return layer_selection.run(blocks, [x], mask, layers=c.layers, layer=self.layer)


def load(
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    dtype: Any = jnp.float32,
) -> tuple[Roberta, dict[str, Any]]:
    """The encoder of a checkpoint, and its variables on the default device.

    Args:
      tensors: By the names of Hugging Face, with or without "roberta." before them;
        heads and pooler are left out.
      config: The checkpoint's `config.json`.
      dtype: Of the matmuls and their weights; float32, or bfloat16. The rest is
        float32.

    Raises:
      ValueError: if a tensor is missing, left over or of another shape, or the config
        lacks a size or asks for a variant that is not written here.
    """
    bert_blocks.expect(config, _FLAGS)
    sizes = bert_blocks.read_sizes(config, types="type_vocab_size")
    module = Roberta(Sizes(**sizes, dtype=dtype))
    params = bert_blocks.parameters(
        module, tensors, _NAMES, prefix="roberta.", ignored=_NO_PART
    )
    return module, params
