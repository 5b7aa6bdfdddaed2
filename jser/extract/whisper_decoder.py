"""Whisper's decoder in Flax, and greedy decoding with a cache of keys and values.

    module, params = load(folder)
    rules = Rules.read(folder)
    cross = module.apply(params, states, method="cross")
    tokens = greedy(module, rules, params, cross, rules.prompts([language] * B), real)

Logits are those of transformers' PyTorch model to 1e-5 in float32, and the tokens are
those that its `generate` gives.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import re
from typing import Any

from absl import logging
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.extract import weights, whisper
from jser.shapes import Array

_PREFIX = r"^(model\.)?decoder\."
_NOT_GREEDY = {
    "num_beams": 1,
    "do_sample": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}

# Keys and values of all layers, [L, B, T, heads, D / heads] each.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What generation_config.json says of how tokens become a transcript.

    As `generate(task="transcribe")` reads it: after the start token come the language,
    the task and the token that switches time stamps off. Checkpoints without tasks
    (English alone) have their `forced_decoder_ids` there.
    """

    prompt: tuple[int, ...]  # Without the language.
    languages: dict[str, int]  # Code ("en") to token; empty if there is no choice.
    language: str  # Code of the one to write where none is asked for; empty: detect.
    end: int
    suppress: tuple[int, ...]  # Tokens that are never chosen,
    suppress_first: tuple[int, ...]  # nor these right after the prompt.
    limit: int  # Most tokens of a window, prompt included.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Rules":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if generation_config.json or config.json is missing.
          ValueError: if what is needed is not in them.
        """
        where, config = folder / "generation_config.json", Config.read(folder)
        g = weights.read_config(folder, where.name)
        if odd := [k for k, plain in _NOT_GREEDY.items() if g.get(k, plain) != plain]:
            logging.warning("%s: %s not used; decoding is greedy", where, odd)
        try:
            start, end = int(g["decoder_start_token_id"]), int(g["eos_token_id"])
        except (KeyError, TypeError) as e:
            raise ValueError(f"{where}: no single start and end token ({e}).") from e
        choice = g.get("is_multilingual", True)
        languages = (g.get("lang_to_id") or {}) if choice else {}
        tasks = (g.get("task_to_id") or {}) if choice else {}
        if tasks:
            prompt = [start, tasks["transcribe"]]
        else:
            forced = g.get("forced_decoder_ids")
            if forced is None:
                forced = weights.read_config(folder).get("forced_decoder_ids")
            prompt = [start, *(i for _, i in forced or () if i is not None)]
        no_times = g.get("no_timestamps_token_id")
        if no_times is not None and prompt[-1] != no_times:
            prompt.append(no_times)
        given = len(prompt) + bool(languages)
        longest = g.get("max_new_tokens") or g.get("max_length") or config.positions
        rules = cls(
            prompt=tuple(prompt),
            languages={_code(name): i for name, i in languages.items()},
            language="",
            end=end,
            suppress=tuple(g.get("suppress_tokens") or ()),
            suppress_first=tuple(g.get("begin_suppress_tokens") or ()),
            limit=min(longest + given, config.positions),
        )
        if languages and g.get("language"):
            code = rules.code(g["language"])
            rules = dataclasses.replace(rules, language=code)
        return rules

    def code(self, language: str) -> str:
        """The code of a language given as "en", "<|en|>" or "English".

        Raises:
          ValueError: if the checkpoint does not know it, with those it knows.
        """
        if not self.languages:
            raise ValueError(
                f"language {language!r}: this checkpoint has no choice of languages"
                " (English alone?). Leave the language out."
            )
        from transformers.models.whisper import tokenization_whisper as names

        plain = _code(language.lower())
        code = names.TO_LANGUAGE_CODE.get(plain, plain)
        if code not in self.languages:
            raise ValueError(
                f"language {language!r} is not one of"
                f" {', '.join(sorted(self.languages))}."
            )
        return code

    def prompts(self, languages: Sequence[int]) -> Int[np.ndarray, "B P"]:
        """The prompts of a batch, from its tokens of languages where there are any."""
        start, *rest = self.prompt
        rows = [[start, *([i] if self.languages else []), *rest] for i in languages]
        return np.array(rows, np.int32)


def _code(name: str) -> str:
    return name.removeprefix("<|").removesuffix("|>")


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
        room = (c.layers, batch, length, c.heads, c.width // c.heads)
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


def _heads(x: jax.Array, heads: int) -> jax.Array:
    return x.reshape(*x.shape[:-1], heads, -1)


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
        query_BSHd = _heads(dense(name="query")(y_BSD), c.heads)
        key_BSD = dense(name="key", use_bias=False)(y_BSD)
        value_BSD = dense(name="value")(y_BSD)
        at = (layer, 0, start, 0, 0)
        put = lambda x_LBTHd, x_BSD: jax.lax.dynamic_update_slice(
            x_LBTHd, _heads(x_BSD, c.heads)[None], at
        )
        cache = (put(cache[0], key_BSD), put(cache[1], value_BSD))
        keys, values = (
            jax.lax.dynamic_index_in_dim(x, layer, keepdims=False) for x in cache
        )
        tokens = jnp.arange(keys.shape[1])
        seen_ST = tokens <= start + jnp.arange(x_BSD.shape[1])[:, None]
        context = jax.nn.dot_product_attention(
            query_BSHd, keys, values, mask=seen_ST[None, None]
        )
        x_BSD = x_BSD + dense(name="out")(context.reshape(x_BSD.shape))
        query_BSHd = _heads(
            dense(name="cross_query")(_norm("cross_norm")(x_BSD)), c.heads
        )
        context = jax.nn.dot_product_attention(query_BSHd, *cross)
        x_BSD = x_BSD + dense(name="cross_out")(context.reshape(x_BSD.shape))
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
