"""Whisper's decoder in Flax, and greedy decoding with a cache of keys and values.

    module, params = load(folder)
    rules = whisper_rules.Rules.read(folder)
    cross = module.apply(params, states, method="cross")
    made = greedy(module, rules, params, cross, rules.prompts([language] * B), real)

Logits are those of transformers' PyTorch model to 1e-5 in float32, and the tokens are
those that its `generate` gives.
"""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

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
    "blocks_{}/norm": "layers.{}.self_attn_layer_norm",
    "blocks_{}/query": "layers.{}.self_attn.q_proj",
    "blocks_{}/key": "layers.{}.self_attn.k_proj",
    "blocks_{}/value": "layers.{}.self_attn.v_proj",
    "blocks_{}/out": "layers.{}.self_attn.out_proj",
    "blocks_{}/cross_norm": "layers.{}.encoder_attn_layer_norm",
    "blocks_{}/cross_query": "layers.{}.encoder_attn.q_proj",
    "blocks_{}/cross_out": "layers.{}.encoder_attn.out_proj",
    "blocks_{}/final_norm": "layers.{}.final_layer_norm",
    "blocks_{}/up": "layers.{}.fc1",
    "blocks_{}/down": "layers.{}.fc2",
    "cross_blocks_{}/key": "layers.{}.encoder_attn.k_proj",
    "cross_blocks_{}/value": "layers.{}.encoder_attn.v_proj",
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

# Keys and values of every layer, [B, A, T, E] each: products of matrices read them as
# they lie, at every step.
KeysValues = tuple[tuple[Array, Array], ...]


class Decoded(NamedTuple):
    """What `greedy` makes of a batch."""

    tokens: Int[Array, "B S"]  # The prompt first, and the end after the last.
    no_speech: Float[Array, " B"]  # Probability that nobody speaks, 0 if not known.
    log_probability: Float[Array, " B"]  # Of a token, the end included, as a mean.


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
        # No `nn.scan`: it would copy a layer's weights out of the stack at every token.
        self.blocks = [_Block(c, self.dtype) for _ in range(c.layers)]
        self.cross_blocks = [_CrossKeysValues(c, self.dtype) for _ in range(c.layers)]
        self.norm = norm(c.epsilon, None)

    def cross(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What every layer attends to in the encoder's last states, once a window."""
        return tuple(block(states) for block in self.cross_blocks)

    def empty_cache(self, batch: int, length: int) -> KeysValues:
        """Room for the keys and values of so many tokens."""
        c = self.config
        room = jnp.zeros((batch, c.heads, length, c.width // c.heads), self.dtype)
        return ((room, room),) * c.layers

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
        filled = []
        for block, of_sound, known in zip(self.blocks, cross, cache, strict=True):
            x_BSD, keys_values = block(x_BSD, of_sound, known, start)
            filled.append(keys_values)
        x_BSD = self.norm(x_BSD).astype(self.embedding.dtype)
        logits_BSV = jnp.einsum(
            "BSD,VD->BSV", x_BSD, self.embedding, preferred_element_type=jnp.float32
        )
        return logits_BSV, tuple(filled)


def _heads_first(x_BTD, heads: int) -> Array:
    return split_heads(x_BTD, heads).swapaxes(1, 2)


def _attend(query_BASE, keys_BATE, values_BATE, unseen_ST: Any = 0.0) -> Array:
    """Attention [B, S, D]; `unseen` is added to its scores."""
    context_BASE = attention.weighted_sum(query_BASE, keys_BATE, values_BATE, unseen_ST)
    context_BSAE = context_BASE.swapaxes(1, 2)
    return context_BSAE.reshape(*context_BSAE.shape[:2], -1)


class _CrossKeysValues(nn.Module):
    """A layer's keys and values of the encoder's states."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, states_BTD):
        c = self.config
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        keys = dense(name="key", use_bias=False)(states_BTD)
        values = dense(name="value")(states_BTD)
        return _heads_first(keys, c.heads), _heads_first(values, c.heads)


class _Block(nn.Module):
    """A transformer decoder block: returns its output and its part of the cache."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BSD, cross, cache, start):
        c = self.config
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        y_BSD = norm(c.epsilon, "norm")(x_BSD)
        query_BASE = _heads_first(dense(name="query")(y_BSD), c.heads)
        key_BSD = dense(name="key", use_bias=False)(y_BSD)
        value_BSD = dense(name="value")(y_BSD)
        put = lambda x_BATE, x_BSD: jax.lax.dynamic_update_slice(
            x_BATE, _heads_first(x_BSD, c.heads), (0, 0, start, 0)
        )
        keys, values = put(cache[0], key_BSD), put(cache[1], value_BSD)
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
        return x_BSD + dense(name="down")(inner_BSF), (keys, values)


def detect(
    module: WhisperDecoder, rules: Rules, params: Any, cross: KeysValues
) -> Int[Array, " B"]:
    """The token of the likeliest language of each window, after the start alone."""
    batch = len(cross[0][0])
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
) -> Decoded:
    """The likeliest token after the likeliest token, until all windows have ended.

    Args:
      module: The decoder.
      rules: What is suppressed, the end and the limit.
      params: Of the decoder.
      cross: What `WhisperDecoder.cross` makes of the encoder's states.
      prompt: Tokens that begin each window's text.
      real: False on rows that only fill the batch; they are not waited for.

    Returns:
      `rules.limit` tokens a window, the prompt first and `rules.end` after the last;
      and how sure the decoder is that there is speech, and of the tokens.
    """
    batch, given = prompt.shape
    never = np.zeros(module.config.tokens, np.float32)
    never[list(rules.suppress)] = -np.inf
    at_first = never.copy()
    at_first[list(rules.suppress_first)] = -np.inf

    def choose(logits_BV, ban, done_B):
        logits_BV += ban
        best_B = jnp.where(done_B, rules.end, jnp.argmax(logits_BV, axis=-1))
        score_B = logits_BV.max(axis=-1) - jax.nn.logsumexp(logits_BV, axis=-1)
        score_B = jnp.where(done_B, 0.0, score_B)
        return best_B.astype(jnp.int32), score_B, done_B | (best_B == rules.end)

    def advance(state):
        i, tokens_BS, sum_B, done_B, cache = state
        newest_B1 = jax.lax.dynamic_slice_in_dim(tokens_BS, i - 1, 1, axis=1)
        logits_BSV, cache = module.apply(params, newest_B1, i - 1, cross, cache)
        best_B, score_B, done_B = choose(logits_BSV[:, 0], never, done_B)
        return i + 1, tokens_BS.at[:, i].set(best_B), sum_B + score_B, done_B, cache

    cache = module.empty_cache(batch, rules.limit)
    logits_BSV, cache = module.apply(params, prompt, 0, cross, cache)
    no_speech_B = jnp.zeros(batch)
    if rules.no_speech is not None:
        no_speech_B = jax.nn.softmax(logits_BSV[:, 0])[:, rules.no_speech]
    best_B, sum_B, done_B = choose(logits_BSV[:, -1], at_first, ~real)
    tokens_BS = jnp.full((batch, rules.limit), rules.end, jnp.int32)
    tokens_BS = tokens_BS.at[:, :given].set(prompt).at[:, given].set(best_B)
    unfinished = lambda state: (state[0] < rules.limit) & ~state[3].all()
    state = (jnp.array(given + 1), tokens_BS, sum_B, done_B, cache)
    _, tokens_BS, sum_B, *_ = jax.lax.while_loop(unfinished, advance, state)
    words_B = (tokens_BS[:, given:] != rules.end).sum(axis=1)
    chosen_B = jnp.minimum(words_B + 1, rules.limit - given)
    return Decoded(tokens_BS, no_speech_B, sum_B / chosen_B)


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
