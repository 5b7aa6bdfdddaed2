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
import re
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import weights, whisper
from jser.encoders.whisper_prompts import Rules
from jser.shapes import Array

_PREFIX = r"^(model\.)?decoder\."

# Keys and values of all layers, [L, B, heads, T, D / heads] each: products of matrices
# read them as they lie, at every step.
KeysValues = tuple[jax.Array, jax.Array]

_gelu = functools.partial(nn.gelu, approximate=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What config.json says of the decoder."""

    width: int  # D.
    layers: int  # L.
    heads: int
    inner: int  # Width inside the feed-forward blocks.
    tokens: int  # V, size of the vocabulary.
    positions: int  # Most tokens of a window, prompt included.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is no Whisper or a variant not supported.
        """
        whisper.Config.read(folder)
        c, where = weights.read_config(folder), folder / "config.json"
        if not c.get("tie_word_embeddings", True):
            raise ValueError(f"{where}: tie_word_embeddings = False is not supported.")
        try:
            return cls(
                width=c["d_model"],
                layers=c["decoder_layers"],
                heads=c["decoder_attention_heads"],
                inner=c["decoder_ffn_dim"],
                tokens=c["vocab_size"],
                positions=c["max_target_positions"],
            )
        except KeyError as e:
            raise ValueError(f"{where}: lacks {e}. Fetch it again.") from e


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
        self.layers = scan(_Layer, in_axes=(0, 0, nn.broadcast))(c, self.dtype)
        self.cross_layers = scan(_CrossKeysValues)(c, self.dtype)
        self.norm = _norm(None)

    def cross(self, states: Float[Array, "B T D"]) -> KeysValues:
        """What every layer attends to in the encoder's last states, once a window."""
        return self.cross_layers(states, None)[1]

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
        (x_BSD, cache), _ = self.layers((x_BSD, cache), layer, cross, start)
        x_BSD = self.norm(x_BSD).astype(self.embedding.dtype)
        logits_BSV = jnp.einsum(
            "BSD,VD->BSV", x_BSD, self.embedding, preferred_element_type=jnp.float32
        )
        return logits_BSV, cache


def _norm(name: str | None) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


def _heads(x_BTD: jax.Array, heads: int) -> jax.Array:
    return x_BTD.reshape(*x_BTD.shape[:-1], heads, -1).swapaxes(1, 2)


def _attend(query_BHSd, keys_BHTd, values_BHTd, unseen_ST: Any = 0.0) -> jax.Array:
    """Attention [B, S, D], its weights in float32; `unseen` is added to the logits."""
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    scale = query_BHSd.shape[-1] ** -0.5
    logits_BHST = product("BHSd,BHTd->BHST", query_BHSd, keys_BHTd) * scale
    weight_BHST = jax.nn.softmax(logits_BHST + unseen_ST).astype(values_BHTd.dtype)
    context_BHSd = product("BHST,BHTd->BHSd", weight_BHST, values_BHTd)
    context_BSHd = context_BHSd.swapaxes(1, 2)
    return context_BSHd.reshape(*context_BSHd.shape[:2], -1)


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
        return states_BTD, (_heads(keys, c.heads), _heads(values, c.heads))


class _Layer(nn.Module):
    """A transformer layer, for `nn.scan`: it hands on its output and the cache."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, carry, layer, cross, start):
        c = self.config
        x_BSD, cache = carry
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        y_BSD = _norm("norm")(x_BSD)
        query_BHSd = _heads(dense(name="query")(y_BSD), c.heads)
        key_BSD = dense(name="key", use_bias=False)(y_BSD)
        value_BSD = dense(name="value")(y_BSD)
        at = (layer, 0, 0, start, 0)
        put = lambda x_LBHTd, x_BSD: jax.lax.dynamic_update_slice(
            x_LBHTd, _heads(x_BSD, c.heads)[None], at
        )
        cache = (put(cache[0], key_BSD), put(cache[1], value_BSD))
        keys, values = (
            jax.lax.dynamic_index_in_dim(x, layer, keepdims=False) for x in cache
        )
        newest_S1 = start + jnp.arange(x_BSD.shape[1])[:, None]
        unseen_ST = jnp.where(jnp.arange(keys.shape[2]) > newest_S1, -jnp.inf, 0.0)
        context_BSD = _attend(query_BHSd, keys, values, unseen_ST)
        x_BSD = x_BSD + dense(name="out")(context_BSD)
        y_BSD = _norm("cross_norm")(x_BSD)
        query_BHSd = _heads(dense(name="cross_query")(y_BSD), c.heads)
        context_BSD = _attend(query_BHSd, *cross)
        x_BSD = x_BSD + dense(name="cross_out")(context_BSD)
        up = nn.Dense(c.inner, dtype=self.dtype, name="up")
        inner_BSF = _gelu(up(_norm("final_norm")(x_BSD)))
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
    config = Config.read(folder)
    found = weights.read_tensors(folder, _PREFIX)
    bare = {re.sub(_PREFIX, "", name): x for name, x in found.items()}
    tensors = weights.Tensors(bare, folder, dtype)
    params = _params(config, tensors)
    tensors.finish()
    return WhisperDecoder(config, dtype), {"params": params}


def _params(c: Config, t: weights.Tensors) -> dict[str, Any]:
    linear = lambda name, bias=True: t.linear(f"layers.{{}}.{name}", c.layers, bias)
    norm = lambda name: t.norm(f"layers.{{}}.{name}", c.layers)
    return {
        "embedding": jnp.asarray(t.take("embed_tokens.weight"), t.dtype),
        "position": t.array("embed_positions.weight"),
        "layers": {
            "norm": norm("self_attn_layer_norm"),
            "query": linear("self_attn.q_proj"),
            "key": linear("self_attn.k_proj", bias=False),
            "value": linear("self_attn.v_proj"),
            "out": linear("self_attn.out_proj"),
            "cross_norm": norm("encoder_attn_layer_norm"),
            "cross_query": linear("encoder_attn.q_proj"),
            "cross_out": linear("encoder_attn.out_proj"),
            "final_norm": norm("final_layer_norm"),
            "up": linear("fc1"),
            "down": linear("fc2"),
        },
        "cross_layers": {
            "key": linear("encoder_attn.k_proj", bias=False),
            "value": linear("encoder_attn.v_proj"),
        },
        "norm": t.norm("layer_norm"),
    }
