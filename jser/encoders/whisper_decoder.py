"""Whisper's decoder in Flax, and greedy decoding with a cache of keys and values.

    module, params = load(folder)
    rules = whisper_rules.Rules.read(folder)
    cross = module.apply(params, states, method="cross")
    tokens = greedy(module, rules, params, cross, rules.prompts([language] * B), real)

Logits are those of transformers' PyTorch model to 1e-5 in float32, and the tokens are
those that its `generate` gives.
"""

import dataclasses
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import attention, family_config, parameters, transformer, whisper
from jser.encoders.transformer import gelu, norm, split_heads
from jser.encoders.whisper_prompts import Rules
from jser.shapes import Array

_PATTERN = r"(model\.)?decoder\."
NAMES = {
    "embedding": "embed_tokens.weight",
    "position": "embed_positions.weight",
    "norm": "layer_norm",
    "blocks/norm": "layers.{}.self_attn_layer_norm",
    "blocks/query": "layers.{}.self_attn.q_proj",
    "blocks/key": "layers.{}.self_attn.k_proj",
    "blocks/value": "layers.{}.self_attn.v_proj",
    "blocks/out": "layers.{}.self_attn.out_proj",
    "blocks/cross_norm": "layers.{}.encoder_attn_layer_norm",
    "blocks/cross_query": "layers.{}.encoder_attn.q_proj",
    "blocks/cross_out": "layers.{}.encoder_attn.out_proj",
    "blocks/final_norm": "layers.{}.final_layer_norm",
    "blocks/up": "layers.{}.fc1",
    "blocks/down": "layers.{}.fc2",
    "cross_blocks/key": "layers.{}.encoder_attn.k_proj",
    "cross_blocks/value": "layers.{}.encoder_attn.v_proj",
}
_KEYS = {
    "width": "d_model",
    "layers": "decoder_layers",
    "heads": "decoder_attention_heads",
    "inner": "decoder_ffn_dim",
    "tokens": "vocab_size",
    "positions": "max_target_positions",
}
_FLAGS = (*whisper.FLAGS, ("tie_word_embeddings", True, True))

# Keys and values of all layers, [L, B, A, T, E] each: products of matrices read them as
# they lie, at every step.
KeysValues = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(transformer.Config):
    """What config.json says of the decoder."""

    tokens: int  # V, size of the vocabulary.
    positions: int  # Most tokens of a window, prompt included.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is no Whisper or a variant not supported.
        """
        return cls(**family_config.read(folder, ("whisper",), _KEYS, _FLAGS)[0])


class WhisperDecoder(nn.Module):
    """The decoder, for some tokens at a time.

    Attributes:
      config: The sizes.
      dtype: Of matrix products and of keys and values. The sum that runs through the
        layers, norms, softmax and logits are float32 whatever it is.
    """

    config: Config
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Names the parameters."""
        c = self.config
        small = nn.initializers.normal(0.02)
        self.embedding = self.param("embedding", small, (c.tokens, c.width))
        self.position = self.param("position", small, (c.positions, c.width))
        scan: Any = functools.partial(
            nn.scan,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=c.layers,
        )
        self.blocks = scan(_Block, in_axes=(0, 0, nn.broadcast))(c, self.dtype)
        self.cross_blocks = scan(_CrossKeysValues)(c, self.dtype)
        self.norm = norm(c.epsilon, None)

    def cross(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What every layer attends to in the encoder's last states, once a window."""
        return self.cross_blocks(states, None)[1]

    def empty_cache(self, batch: int, length: int) -> KeysValues:
        """Room for the keys and values of so many tokens."""
        c = self.config
        room = (c.layers, batch, c.heads, length, c.width // c.heads)
        return jnp.zeros(room, self.dtype), jnp.zeros(room, self.dtype)

    def __call__(
        self,
        tokens: Int[Array, "B S"],
        start: Int[Array, ""] | int,
        cross: KeysValues,
        cache: KeysValues,
    ) -> tuple[Float[Array, "B S V"], KeysValues]:
        """Reads tokens that follow `start` others, whose keys the cache holds.

        Returns:
          The logits of the token after each, float32, and the cache with these
          tokens' keys and values.
        """
        # The dtype of the table, as the checkpoint was read, decides that of products.
        x_BSD = self.embedding[tokens].astype(jnp.float32)
        x_BSD += jax.lax.dynamic_slice_in_dim(self.position, start, tokens.shape[1])
        layer = jnp.arange(self.config.layers)
        (x_BSD, cache), _ = self.blocks((x_BSD, cache), layer, cross, start)
        x_BSD = self.norm(x_BSD).astype(self.embedding.dtype)
        logits_BSV = jnp.einsum(
            "BSD,VD->BSV", x_BSD, self.embedding, preferred_element_type=jnp.float32
        )
        return logits_BSV, cache


def _heads_first(x_BTD, heads: int) -> Array:
    return split_heads(x_BTD, heads).swapaxes(1, 2)


def _attend(query_BASE, keys_BATE, values_BATE, unseen_ST: Any = 0.0) -> Array:
    """Attention [B, S, D]; `unseen` is added to its scores."""
    context_BASE = attention.weighted_sum(query_BASE, keys_BATE, values_BATE, unseen_ST)
    context_BSAE = context_BASE.swapaxes(1, 2)
    return context_BSAE.reshape(*context_BSAE.shape[:2], -1)


class _CrossKeysValues(nn.Module):
    """A layer's keys and values of the encoder's states, for `nn.scan`."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, states_BTD, _):
        c = self.config
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        keys = dense(name="key", use_bias=False)(states_BTD)
        values = dense(name="value")(states_BTD)
        return states_BTD, (_heads_first(keys, c.heads), _heads_first(values, c.heads))


class _Block(nn.Module):
    """A transformer decoder block, for `nn.scan`: hands on its output and the cache."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, carry, layer, cross, start):
        c = self.config
        x_BSD, cache = carry
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        y_BSD = norm(c.epsilon, "norm")(x_BSD)
        query_BASE = _heads_first(dense(name="query")(y_BSD), c.heads)
        key_BSD = dense(name="key", use_bias=False)(y_BSD)
        value_BSD = dense(name="value")(y_BSD)
        at = (layer, 0, 0, start, 0)
        put = lambda x_LBATE, x_BSD: jax.lax.dynamic_update_slice(
            x_LBATE, _heads_first(x_BSD, c.heads)[None], at
        )
        cache = (put(cache[0], key_BSD), put(cache[1], value_BSD))
        keys, values = (
            jax.lax.dynamic_index_in_dim(x, layer, keepdims=False) for x in cache
        )
        newest_S1 = start + jnp.arange(x_BSD.shape[1])[:, None]
        unseen_ST = jnp.where(jnp.arange(keys.shape[2]) > newest_S1, -jnp.inf, 0.0)
        context_BSD = _attend(query_BASE, keys, values, unseen_ST)
        x_BSD = x_BSD + dense(name="out")(context_BSD)
        y_BSD = norm(c.epsilon, "cross_norm")(x_BSD)
        query_BASE = _heads_first(dense(name="cross_query")(y_BSD), c.heads)
        context_BSD = _attend(query_BASE, *cross)
        x_BSD = x_BSD + dense(name="cross_out")(context_BSD)
        up = nn.Dense(c.inner, dtype=self.dtype, name="up")
        inner_BSF = gelu(up(norm(c.epsilon, "final_norm")(x_BSD)))
        return (x_BSD + dense(name="down")(inner_BSF), cache), None


def detect(
    module: WhisperDecoder, rules: Rules, params: Any, cross: KeysValues
) -> Int[Array, " B"]:
    """The token of the likeliest language of each window, after the start alone."""
    batch = cross[0].shape[1]
    start = jnp.full((batch, 1), rules.prompt[0])
    cache = module.empty_cache(batch, 1)
    logits_BSV, _ = module.apply(params, start, 0, cross, cache)
    known = jnp.array(sorted(rules.languages.values()))
    return known[jnp.argmax(logits_BSV[:, 0, known], axis=-1)]


def greedy(
    module: WhisperDecoder,
    rules: Rules,
    params: Any,
    cross: KeysValues,
    prompt: Int[Array, "B P"],
    real: Bool[Array, " B"],
) -> Int[Array, "B S"]:
    """The likeliest token after the likeliest token, until all windows have ended.

    Args:
      module: The decoder.
      rules: What is suppressed, the end and the limit.
      params: Of the decoder.
      cross: What `WhisperDecoder.cross` makes of the encoder's states.
      prompt: Tokens that begin each window's text.
      real: False on rows that only fill the batch; they are not waited for.

    Returns:
      `rules.limit` tokens a window, the prompt first and `rules.end` after the last.
    """
    batch, given = prompt.shape
    never = np.zeros(module.config.tokens, np.float32)
    never[list(rules.suppress)] = -np.inf
    at_first = never.copy()
    at_first[list(rules.suppress_first)] = -np.inf

    def choose(logits_BV, ban, done_B):
        best_B = jnp.where(done_B, rules.end, jnp.argmax(logits_BV + ban, axis=-1))
        return best_B.astype(jnp.int32), done_B | (best_B == rules.end)

    def advance(state):
        i, tokens_BS, done_B, cache = state
        newest_B1 = jax.lax.dynamic_slice_in_dim(tokens_BS, i - 1, 1, axis=1)
        logits_BSV, cache = module.apply(params, newest_B1, i - 1, cross, cache)
        best_B, done_B = choose(logits_BSV[:, 0], never, done_B)
        return i + 1, tokens_BS.at[:, i].set(best_B), done_B, cache

    cache = module.empty_cache(batch, rules.limit)
    logits_BSV, cache = module.apply(params, prompt, 0, cross, cache)
    best_B, done_B = choose(logits_BSV[:, -1], at_first, ~real)
    tokens_BS = jnp.full((batch, rules.limit), rules.end, jnp.int32)
    tokens_BS = tokens_BS.at[:, :given].set(prompt).at[:, given].set(best_B)
    unfinished = lambda state: (state[0] < rules.limit) & ~state[2].all()
    state = (jnp.array(given + 1), tokens_BS, done_B, cache)
    return jax.lax.while_loop(unfinished, advance, state)[1]


def load(
    folder: pathlib.Path, dtype=jnp.float32
) -> tuple[WhisperDecoder, dict[str, Any]]:
    """The decoder of a checkpoint folder as a module and its parameters.

    Args:
      folder: Holds config.json and the weights; the encoder's are not read.
      dtype: Of products, and of the kernels in memory: float32, or bfloat16 for
        accelerators.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if the model is not supported or its weights do not fit its config.
    """
    module = WhisperDecoder(c := Config.read(folder), dtype)

    def once(module, states, tokens):
        return module(tokens, 0, module.cross(states), module.empty_cache(1, 1))

    example = np.zeros((1, 1, c.width), np.float32), np.zeros((1, 1), np.int32)
    variables = parameters.load(
        module, example, folder, NAMES, pattern=_PATTERN, dtype=dtype, method=once
    )
    # The logits' kernel, too.
    table = variables["params"]["embedding"].astype(dtype)
    return module, {"params": {**variables["params"], "embedding": table}}
