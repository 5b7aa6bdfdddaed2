"""BERT (Devlin et al., 2018), and what RoBERTa and DeBERTa have of it.

    module, variables = load(folder)
    states = jax.jit(module.apply)(variables, ids, mask)

Numbers are those of transformers' PyTorch models to 3e-5 in float32.
"""

import dataclasses
import pathlib
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import family_config, layer_selection, parameters, transformer
from jser.shapes import Array

BLOCK_NAMES = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "final_norm": "output.LayerNorm",
}
NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
} | {f"blocks/{k}": f"encoder.layer.{{}}.{v}" for k, v in BLOCK_NAMES.items()}
KEYS = family_config.SIZES | {
    "vocab": "vocab_size",
    "positions": "max_position_embeddings",
    "epsilon": "layer_norm_eps",
    "pad": "pad_token_id",
}
FLAGS = (
    ("hidden_act", "gelu", "gelu"),
    ("position_embedding_type", "absolute", "absolute"),
    ("is_decoder", False, False),
)
EXAMPLE = np.zeros((1, 2), np.int32), np.ones((1, 2), bool)
_HEADS = (
    *("classifier", "cls", "lm_head", "lm_predictions", "mask_predictions", "pooler"),
    *("embeddings.position_ids", "embeddings.token_type_ids"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(transformer.Config):
    """What config.json says of any text encoder."""

    vocab: int
    positions: int
    pad: int  # The padding's id.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """What config.json says of BERT or RoBERTa."""

    types: int  # Token types; all tokens are of the first.

    @classmethod
    def read(cls, folder: pathlib.Path, model_type: str = "bert") -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is another kind of model or a variant not supported.
        """
        keys = KEYS | {"types": "type_vocab_size"}
        return cls(**family_config.read(folder, (model_type,), keys, FLAGS)[0])


class Bert(nn.Module):
    """The encoder, with all its hidden states or some.

    Attributes:
      config: The sizes.
      dtype: Of matrix products; the rest is float32.
      layer: Which hidden states are returned, as in `layer_selection`.
      remat: Whether a gradient computes blocks again instead of keeping them.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"
    remat: bool = False

    @property
    def max_tokens(self) -> int:
        """The longest window in tokens, specials included; padding may go beyond."""
        return self.config.positions

    def places(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"]
    ) -> Int[Array, "B S"]:
        """Rows of the table of positions; padding beyond its end has the last one."""
        place = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        return jnp.where(mask, place, jnp.minimum(place, self.config.positions - 1))

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "*L1 B S D"]:
        """The hidden states that `layer` asks for, float32; by default all of them.

        Padding (id `pad`, mask False) changes no real token. Its own states are those
        that Hugging Face's has there. Tokens after the first `max_tokens` make NaNs.
        """
        c = self.config
        x_BSD = (
            nn.Embed(c.vocab, c.width, name="words")(ids)
            + nn.Embed(c.types, c.width, name="types")(jnp.zeros_like(ids))
            + nn.Embed(c.positions, c.width, name="positions")(self.places(ids, mask))
        )
        first_BSD = transformer.norm(c.epsilon, "embeddings_norm")(x_BSD)
        block = transformer.Block(c, self.dtype, name="blocks")
        return layer_selection.run(
            block,
            [first_BSD],
            mask,
            layers=c.layers,
            layer=self.layer,
            remat=self.remat,
        )


def pattern(prefix: str, *ignored: str) -> str:
    """Of the tensors' names: the prefix, or not, before what is no head."""
    heads = "|".join(name.replace(".", r"\.") for name in (*_HEADS, *ignored))
    return rf"({prefix}\.)?+(?!({heads})(\.|$))"


def load(
    folder: pathlib.Path, layer: str = "all", dtype: Any = jnp.float32
) -> tuple[Bert, dict[str, Any]]:
    """The encoder of a checkpoint folder as a module and its variables.

    Args:
      folder: Holds config.json and the weights, of the bare encoder or of a model with
        a head, which is not read.
      layer: Which hidden states it is to return, as in `layer_selection`.
      dtype: Of products, and of the kernels in memory: float32, or bfloat16.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if the model is not supported or its weights do not fit its config.
    """
    module = Bert(Config.read(folder), dtype, layer)
    return module, parameters.load(
        module, EXAMPLE, folder, NAMES, pattern=pattern("bert"), dtype=dtype
    )
