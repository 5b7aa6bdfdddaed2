"""The paper's encoders and Whisper's decoder in their real sizes, with random weights.

Ours and transformers' are of one architecture, not of one set of weights: they are to
be timed, not compared.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput

from jser.encoders import bert, roberta, wav2vec, whisper, whisper_decoder
from jser.encoders.whisper_prompts import Rules

SAMPLE_RATE_HZ = 16_000
FRAMES_PER_S = 50  # Of encoders of sound.
TOKENS_PER_S = 4  # Of a transcript.
WINDOW_S = 30  # That Whisper reads.
SPOKEN_S = 10  # That the others are given of sound and of text.
CONV = tuple(zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True))
TEXT = {"vocab_size": 50_265, "max_position_embeddings": 514, "pad_token_id": 1}
END, START = 50_257, 50_258  # Of Whisper's tokens.

Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a transformer."""

    width: int
    layers: int
    heads: int
    inner: int
    conv: int = 512  # Of the convolutions of waveforms.

    def flop(self, frames: int) -> float:
        """Of its matrix products, and no others, for an utterance."""
        per_frame = 8 * self.width**2 + 4 * self.width * self.inner
        return self.layers * frames * (per_frame + 4 * frames * self.width)


SIZES = {
    "whisper": Size(1280, 32, 20, 5120),  # Large, version 3.
    "hubert": Size(1024, 24, 16, 4096),  # Large.
    "wavlm": Size(1024, 24, 16, 4096),  # Large.
    "roberta": Size(1024, 24, 16, 4096),  # Large.
}
REHEARSAL = Size(32, 2, 4, 48, conv=16)


def seconds(kind: str) -> int:
    """Of an utterance."""
    return WINDOW_S if kind == "whisper" else SPOKEN_S


def frames(kind: str) -> int:
    """Of an utterance, that the encoder makes."""
    return seconds(kind) * (TOKENS_PER_S if kind == "roberta" else FRAMES_PER_S)


def inputs(kind: str, batch: int) -> np.ndarray:
    """Spectrograms [B, n, 128], samples [B, n], or tokens [B, T]."""
    rng = np.random.default_rng(0)
    if kind == "whisper":
        return rng.standard_normal((batch, 100 * WINDOW_S, 128), np.float32)
    if kind == "roberta":
        return rng.integers(3, 50_000, (batch, frames(kind)), np.int32)
    # One frame per 320 samples; the first one sees 80 more.
    return rng.standard_normal((batch, SAMPLE_RATE_HZ * SPOKEN_S + 80), np.float32)


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
    shape = {k: getattr(size, k) for k in ("width", "layers", "heads", "inner")}
    half, given = jnp.dtype(dtype), inputs(kind, batch)
    arguments: tuple[Any, ...] = (given,)
    module: Any
    if kind == "whisper":
        positions = WINDOW_S * FRAMES_PER_S
        config = whisper.Config(**shape, bands=128, positions=positions)
        module = whisper.WhisperEncoder(config, half)
    elif kind == "roberta":
        text: Any = {"vocab": 50_265, "positions": 514, "epsilon": 1e-5, "pad": 1}
        module = roberta.Roberta(bert.Config(**shape, **text, types=1), half)
        arguments = given, np.ones(given.shape, bool)
    else:
        relative = {"buckets": 320, "max_distance": 800} if kind == "wavlm" else {}
        config = wav2vec.Config(
            **shape,
            **relative,
            conv=tuple((size.conv, *geometry) for geometry in CONV),
            conv_bias=kind == "hubert",
            group_norm=False,
            norm_first=True,
            pos_kernel=128,
            pos_groups=16,
            epsilon=1e-5,
            normalise=True,
        )
        module = wav2vec.Wav2Vec(config, half)
        arguments = given, np.full(batch, given.shape[1])
    module = module.clone(layer="last")
    params = variables(module, *arguments, dtype=half)
    arguments = jax.device_put(arguments)

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
    given = torch.from_numpy(inputs(kind, batch)).to(device)
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
