"""The families of encoders that run in JAX: from checkpoint folders to encoders.

A family is one file and one entry of `FAMILIES`; README.md says how to add one.
"""

from collections.abc import Callable
import dataclasses
import functools
import pathlib
from types import ModuleType
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jser import devices
from jser.encoders import (
    bert,
    deberta,
    facodec,
    processors,
    roberta,
    tokens,
    wav2vec,
    whisper,
)
from jser.encoders.batching import BatchedEncoder
from jser.encoders.options import Options

# Frames of a batch. A CPU gains nothing by more, since what it computes then no longer
# fits its caches; fewer make more shapes to compile. An accelerator wants thousands.
_CPU_BUDGET = 512
_BUDGET = 24_000


@dataclasses.dataclass(frozen=True)
class Family:
    """What one `model_type` of config.json stands for."""

    kind: str  # What it reads: "speech" or "text".
    load: Callable[[pathlib.Path, Options], BatchedEncoder]


def _waveform(folder: pathlib.Path, options: Options) -> BatchedEncoder:
    """HuBERT, WavLM or wav2vec 2.0."""
    module, variables = wav2vec.load(folder, options.layer, jnp.dtype(options.dtype))
    c = module.config
    processor = processors.WaveformProcessor(
        conv=tuple((kernel, stride) for _, kernel, stride in c.conv),
        normalise=wav2vec.normalise if c.normalise else lambda x: x,
        whole=options.compat,
    )
    return encoder(processor, module, variables, options)


def _mel(folder: pathlib.Path, options: Options) -> BatchedEncoder:
    """Whisper's encoder."""
    module, variables = whisper.load(folder, options.layer, jnp.dtype(options.dtype))
    c, short = module.config, options.context == "short"
    # The authors compare the frames with the width, not with the positions.
    most = c.width if options.compat else None
    processor = processors.MelProcessor(c.bands, most, short)
    return encoder(processor, module.clone(short=short), variables, options)


def codec(
    folder: pathlib.Path, options: Options, *, timbre: bool = True
) -> BatchedEncoder:
    """FACodec's prosody, or prosody and timbre."""
    module, variables = facodec.load(folder, timbre)
    processor = processors.CodecProcessor(whole=options.compat)
    return encoder(processor, module, variables, options)


def _text(family: ModuleType, folder: pathlib.Path, options: Options) -> BatchedEncoder:
    """An encoder of tokens."""
    module, variables = family.load(folder, options.layer, jnp.dtype(options.dtype))
    processor = processors.TokenProcessor(
        tokenizer=tokens.load(folder, module.config.vocab),
        longest=module.max_tokens,
        pad=module.config.pad,
        padding=options.compat,
    )
    return encoder(processor, module, variables, options)


def encoder(
    processor: processors.Processor, module: nn.Module, variables: Any, options: Options
) -> BatchedEncoder:
    """The encoder of a processor, a module and its variables.

    Args:
      processor: Makes the module's arguments of utterances.
      module: Returns the hidden states that are wanted, perhaps before something else.
      variables: The module's.
      options: Say the dtype.
    """
    # An accelerator rounds float32 before it multiplies, unless it is told not to.
    precision = "highest" if options.dtype == "float32" else None

    @jax.jit
    def apply(variables, *arrays):
        with jax.default_matmul_precision(precision):
            made = module.apply(variables, *arrays)
        return made[0] if isinstance(made, tuple) else made

    count = jax.device_count()
    layout = devices.Layout.of(count)
    placed = layout.place(variables)

    def run(*arrays):
        # Variables are an argument, so that they are no constants of the program.
        return apply(placed, *layout.split(arrays))

    return BatchedEncoder(processor, run, budget=count * budget(), devices=count)


def budget() -> int:
    """Frames of a batch on a device."""
    return _CPU_BUDGET if jax.default_backend() == "cpu" else _BUDGET


FAMILIES = {
    "hubert": Family("speech", _waveform),
    "wavlm": Family("speech", _waveform),
    "wav2vec2": Family("speech", _waveform),
    "whisper": Family("speech", _mel),
    "facodec": Family("speech", codec),
    "bert": Family("text", functools.partial(_text, bert)),
    "roberta": Family("text", functools.partial(_text, roberta)),
    "deberta-v2": Family("text", functools.partial(_text, deberta)),
}
