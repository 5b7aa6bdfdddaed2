"""The encoders that run in JAX, from checkpoint folders."""

from collections.abc import Callable
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jser.encoders import (
    deberta,
    facodec,
    layer_selection,
    processors,
    roberta,
    tokens,
    torch_file,
    wav2vec,
    weights,
    whisper,
)
from jser.encoders.batching import Batched
from jser.encoders.options import Options

# Frames of a batch. A CPU gains nothing by more, since what it computes then no longer
# fits its caches; fewer make more shapes to compile. An accelerator wants thousands.
_CPU_BUDGET = 512
_BUDGET = 24_000


def _waves(folder: pathlib.Path, options: Options) -> Batched:
    """HuBERT, WavLM or wav2vec 2.0."""
    module, variables = wav2vec.load(folder, jnp.dtype(options.dtype))
    c = module.config
    reader = processors.Waves(
        conv=tuple((kernel, stride) for _, kernel, stride in c.conv),
        normalise=wav2vec.normalise if c.normalise else lambda x: x,
        whole=options.compat,
    )
    stop = layer_selection.depth(options.layer, c.layers)
    params = layer_selection.prune(variables["params"], "layers", stop)
    return encoder(reader, module, params, options)


def _whisper(folder: pathlib.Path, options: Options) -> Batched:
    """Whisper's encoder."""
    module, variables = whisper.load(folder, jnp.dtype(options.dtype))
    c = module.config
    # The authors compare the frames with the width, not with the positions.
    reader = processors.Mels(c.bands, c.width if options.compat else None)
    stop = layer_selection.depth(options.layer, c.layers)
    params = layer_selection.prune(variables["params"], "layers", stop)
    return encoder(reader, module, params, options)


def _facodec(folder: pathlib.Path, options: Options) -> Batched:
    """FACodec's prosody, or prosody and timbre."""
    states = (dict(torch_file.read(folder / name)) for name in facodec.FILES)
    params = jax.device_put(facodec.load(*states))
    encode = (
        facodec.prosody
        if options.width == facodec.WIDTH
        else facodec.prosody_and_timbre
    )
    run = jax.jit(encode)
    reader = processors.Hops(whole=options.compat)
    return Batched(reader, lambda *arrays: run(params, *arrays), budget=budget())


def _text(family: Any, before: int, folder: pathlib.Path, options: Options) -> Batched:
    """A text encoder, with so many blocks that are not in the stack of blocks."""
    config = weights.read_config(folder)
    tensors = weights.read_tensors(folder)
    module, variables = family.load(tensors, config, jnp.dtype(options.dtype))
    reader = processors.Tokens(
        tokenizer=tokens.load(folder),
        longest=module.max_tokens,
        pad=module.c.pad,
        padding=options.compat,
    )
    stop = max(layer_selection.depth(options.layer, module.c.layers) - before, 0)
    params = layer_selection.prune(variables["params"], "blocks", stop)
    return encoder(reader, module, params, options)


def encoder(
    reader: processors.Reader, module: nn.Module, params: Any, options: Options
) -> Batched:
    """An encoder that reads in that way and runs that module.

    Args:
      reader: Makes the module's arguments of utterances.
      module: One that chooses hidden states by its `layer`.
      params: The module's, of no more blocks than run; they may hold more elsewhere.
      options: Say the layer and the dtype.
    """
    module = module.clone(layer=options.layer)
    # An accelerator rounds float32 before it multiplies, unless it is told not to.
    precision = "highest" if options.dtype == "float32" else None

    @jax.jit
    def apply(params, *arrays):
        with jax.default_matmul_precision(precision):
            made = module.apply({"params": params}, *arrays)
        return made[0] if isinstance(made, tuple) else made

    return Batched(reader, lambda *arrays: apply(params, *arrays), budget=budget())


def budget() -> int:
    """Frames of a batch on this device."""
    return _CPU_BUDGET if jax.default_backend() == "cpu" else _BUDGET


LOADERS: dict[str, Callable[[pathlib.Path, Options], Batched]] = {
    "hubert": _waves,
    "wavlm": _waves,
    "wav2vec2": _waves,
    "whisper": _whisper,
    "facodec": _facodec,
    "roberta": functools.partial(_text, roberta, 0),
    "deberta-v2": functools.partial(_text, deberta, 1),
}
