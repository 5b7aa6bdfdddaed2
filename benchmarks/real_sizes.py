"""The paper's encoders and Whisper's decoder in their real sizes, with random weights.

Ours and transformers' are of one architecture, not of one set of weights: they are to
be timed, not compared.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput

from benchmarks import encoder_sizes
from benchmarks.encoder_sizes import FRAMES_PER_S, WINDOW_S, Size
from jser.encoders import whisper_decoder
from jser.encoders.whisper_prompts import Rules

TEXT = {"vocab_size": 50_265, "max_position_embeddings": 514, "pad_token_id": 1}
END, START = 50_257, 50_258  # Of Whisper's tokens.

Run = Callable[[], Any]


def variables(module: nn.Module, *arguments: Any, dtype: Any, **how: Any) -> Any:
    """Random ones that repeat, without compiling the initialisers of all layers."""
    shapes = jax.eval_shape(
        lambda key: module.init(key, *arguments, **how), jax.random.key(0)
    )

    drawn = 0.02 * np.random.default_rng(0).standard_normal(2**20 + 7)

    def draw(path, shape):
        name = path[-1].key
        if name == "scale":
            return np.ones(shape.shape, shape.dtype)
        kind = dtype if name in ("kernel", "embedding") else shape.dtype
        return np.resize(drawn.astype(kind), shape.shape)

    return jax.device_put(jax.tree_util.tree_map_with_path(draw, shapes))


def ours(kind: str, size: Size, batch: int, dtype: str) -> Run:
    """A pass of our encoder, from arrays on the device to the last states there."""
    half, given = jnp.dtype(dtype), encoder_sizes.arguments(kind, batch)
    module: Any = encoder_sizes.module(kind, size, half)
    params = variables(module, *given, dtype=half)
    arguments = jax.device_put(given)

    @jax.jit
    def encode(params, *arguments):
        with jax.default_matmul_precision("highest" if dtype == "float32" else None):
            made = module.apply(params, *arguments)
        return made[0] if isinstance(made, tuple) else made

    return lambda: jax.block_until_ready(encode(params, *arguments))


def theirs(kind: str, size: Size, batch: int, dtype: str, device: str) -> Run:
    """The same of transformers' encoder, in its fastest attention."""
    shape: dict[str, Any] = {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.inner,
    }
    if kind == "whisper":
        shape = {
            "d_model": size.width,
            "encoder_layers": size.layers,
            "encoder_attention_heads": size.heads,
            "encoder_ffn_dim": size.inner,
            "decoder_layers": 1,
            "decoder_attention_heads": size.heads,
            "num_mel_bins": 128,
        }
    elif kind == "roberta":
        shape |= TEXT
    else:
        shape |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
        shape |= {"conv_bias": kind == "hubert", "conv_dim": (size.conv,) * 7}
    half = getattr(torch, dtype)
    with torch.device(device):
        config = transformers.AutoConfig.for_model(kind, **shape)
        model = transformers.AutoModel.from_config(config).to(half).eval()
    model = model.get_encoder() if kind == "whisper" else model
    given = torch.from_numpy(encoder_sizes.inputs(kind, batch)).to(device)
    if kind == "whisper":
        given = given.swapaxes(1, 2)
    given = given if kind == "roberta" else given.to(half)

    def run() -> None:
        with torch.inference_mode():
            model(given)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def our_decoder(size: Size, batch: int, tokens: int, dtype: str) -> Run:
    """Greedy decoding of so many tokens, from the encoder's states on the device."""
    half = jnp.dtype(dtype)
    shape = {k: getattr(size, k) for k in ("width", "layers", "heads", "inner")}
    config = whisper_decoder.Config(**shape, tokens=51_866, positions=448)
    module = whisper_decoder.WhisperDecoder(config, half)
    rules = Rules(
        prompt=(START,) * 4,
        languages={},
        language="",
        end=END,
        no_speech=None,
        suppress=(END,),  # So that none ends sooner.
        suppress_first=(),
        limit=4 + tokens,
    )
    states = jnp.ones((batch, WINDOW_S * FRAMES_PER_S, size.width))
    once = lambda module, states, prompt: module(
        prompt, 0, module.cross(states), module.empty_cache(1, 4)
    )
    prompt = jnp.full((batch, 4), START)
    params = variables(module, states[:1], prompt[:1], dtype=half, method=once)

    @jax.jit
    def decode(params, states):
        with jax.default_matmul_precision("highest" if dtype == "float32" else None):
            cross = module.apply(params, states, method="cross")
            real = jnp.ones(batch, bool)
            return whisper_decoder.greedy(module, rules, params, cross, prompt, real)

    return lambda: jax.block_until_ready(decode(params, states))


def their_decoder(size: Size, batch: int, tokens: int, dtype: str, device: str) -> Run:
    """The same by `generate`."""
    half = getattr(torch, dtype)
    config = transformers.WhisperConfig(
        d_model=size.width,
        encoder_layers=1,
        encoder_attention_heads=size.heads,
        decoder_layers=size.layers,
        decoder_attention_heads=size.heads,
        decoder_ffn_dim=size.inner,
        vocab_size=51_866,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
    )
    with torch.device(device):
        model = transformers.WhisperForConditionalGeneration(config).to(half).eval()
    shape = batch, WINDOW_S * FRAMES_PER_S, size.width
    states = torch.ones(shape, dtype=half, device=device)
    # Whisper's own would read, and refuse, what is made up here.
    generate: Any = transformers.GenerationMixin.generate

    def run() -> None:
        generate(
            model,
            encoder_outputs=BaseModelOutput(states),
            decoder_input_ids=torch.full((batch, 4), START, device=device),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
        )
        if device == "cuda":
            torch.cuda.synchronize()

    return run
