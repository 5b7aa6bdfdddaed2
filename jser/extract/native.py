"""The encoders that run in JAX, from checkpoint folders."""

from collections.abc import Callable
import functools
import pathlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jser.extract import (
    deberta,
    facodec,
    hidden,
    readers,
    roberta,
    tokens,
    torch_file,
    wav2vec,
    weights,
    whisper,
)
from jser.extract.batched import Batched
from jser.extract.frontends import FACODEC_FILES, Spec

# Frames of a batch. A CPU gains nothing by more, since what it computes then no longer
# fits its caches; fewer make more shapes to compile. An accelerator wants thousands.
_CPU_BUDGET = 512
_BUDGET = 24_000


def _waves(folder: pathlib.Path, spec: Spec) -> Batched:
    """HuBERT, WavLM or wav2vec 2.0."""
    module, variables = wav2vec.load(folder, jnp.dtype(spec.dtype))
    c = module.config
    reader = readers.Waves(
        conv=tuple((kernel, stride) for _, kernel, stride in c.conv),
        normalise=wav2vec.normalise if c.normalise else lambda x: x,
        whole=spec.compat,
    )
    stop = hidden.depth(spec.layer, c.layers)
    params = hidden.prune(variables["params"], "layers", stop)
    return encoder(reader, module, params, spec)


def _whisper(folder: pathlib.Path, spec: Spec) -> Batched:
    """Whisper's encoder."""
    module, variables = whisper.load(folder, jnp.dtype(spec.dtype))
    c = module.config
    # The authors compare the frames with the width, not with the positions.
    reader = readers.Mels(c.bands, c.width if spec.compat else None)
    stop = hidden.depth(spec.layer, c.layers)
    params = hidden.prune(variables["params"], "layers", stop)
    return encoder(reader, module, params, spec)


def _facodec(folder: pathlib.Path, spec: Spec) -> Batched:
    """FACodec's prosody, or prosody and timbre."""
    states = (dict(torch_file.read(folder / name)) for name in FACODEC_FILES)
    params = jax.device_put(facodec.load(*states))
    encode = (
        facodec.prosody if spec.width == facodec.WIDTH else facodec.prosody_and_timbre
    )
    run = jax.jit(encode)
    reader = readers.Hops(whole=spec.compat)
    return Batched(reader, lambda *arrays: run(params, *arrays), budget=budget())


def _text(family: Any, before: int, folder: pathlib.Path, spec: Spec) -> Batched:
    """A text encoder, with so many blocks that are not in the stack of blocks."""
    config = weights.read_config(folder)
    tensors = weights.read_tensors(folder)
    module, variables = family.load(tensors, config, jnp.dtype(spec.dtype))
    reader = readers.Tokens(
        tokenizer=tokens.load(folder),
        longest=module.max_tokens,
        pad=module.c.pad,
        padding=spec.compat,
    )
    stop = max(hidden.depth(spec.layer, module.c.layers) - before, 0)
    params = hidden.prune(variables["params"], "blocks", stop)
    return encoder(reader, module, params, spec)


def encoder(
    reader: readers.Reader, module: nn.Module, params: Any, spec: Spec
) -> Batched:
    """An encoder that reads in that way and runs that module.

    Args:
      reader: Makes the module's arguments of utterances.
      module: One that chooses hidden states by its `layer`.
      params: The module's, of no more blocks than run; they may hold more elsewhere.
      spec: Says the layer and the dtype.
    """
    module = module.clone(layer=spec.layer)
    # An accelerator rounds float32 before it multiplies, unless it is told not to.
    precision = "highest" if spec.dtype == "float32" else None

    @jax.jit
    def apply(params, *arrays):
        with jax.default_matmul_precision(precision):
            made = module.apply({"params": params}, *arrays)
        return made[0] if isinstance(made, tuple) else made

    return Batched(reader, lambda *arrays: apply(params, *arrays), budget=budget())


def budget() -> int:
    """Frames of a batch on this device."""
    return _CPU_BUDGET if jax.default_backend() == "cpu" else _BUDGET


LOADERS: dict[str, Callable[[pathlib.Path, Spec], Batched]] = {
    "hubert": _waves,
    "wavlm": _waves,
    "wav2vec2": _waves,
    "whisper": _whisper,
    "facodec": _facodec,
    "roberta": functools.partial(_text, roberta, 0),
    "deberta-v2": functools.partial(_text, deberta, 1),
}
