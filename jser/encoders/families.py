"""The families of encoders that run in JAX: from checkpoint folders to encoders.

A family is one file and one entry of `FAMILIES`; README.md says how to add one.
"""

from collections.abc import Callable
import dataclasses
import functools
import pathlib
from types import ModuleType
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from jser import devices
from jser.encoders import (
    bert,
    deberta,
    facodec,
    parameters,
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


class Parts(NamedTuple):
    """What an encoder is made of, for whoever trains one."""

    processor: processors.Processor  # Makes the module's arguments of utterances.
    module: nn.Module  # `clone(remat=True)` of it takes less memory for a gradient.
    variables: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
    """What one `model_type` of config.json stands for."""

    kind: str  # What it reads: "speech" or "text".
    parts: Callable[..., Parts]  # Of a checkpoint folder and options.
    naming: parameters.Naming | None = None  # None of FACodec, which is no transformer.

    def load(
        self, folder: pathlib.Path, options: Options, **changes: Any
    ) -> BatchedEncoder:
        """The encoder of a checkpoint folder."""
        return encoder(*self.parts(folder, options, **changes), options)


def _waveform(folder: pathlib.Path, options: Options) -> Parts:
    """HuBERT, WavLM or wav2vec 2.0."""
    module, variables = wav2vec.load(folder, options.layer, jnp.dtype(options.dtype))
    c = module.config
    processor = processors.WaveformProcessor(
        conv=tuple((kernel, stride) for _, kernel, stride in c.conv),
        normalise=wav2vec.normalise if c.normalise else lambda x: x,
        whole=options.compat,
    )
    return Parts(processor, module, variables)


def _mel(folder: pathlib.Path, options: Options) -> Parts:
    """Whisper's encoder."""
    module, variables = whisper.load(folder, options.layer, jnp.dtype(options.dtype))
    c, short = module.config, options.context == "short"
    # The authors compare the frames with the width, not with the positions.
    most = c.width if options.compat else None
    processor = processors.MelProcessor(c.bands, most, short)
    return Parts(processor, module.clone(short=short), variables)


def _codec(folder: pathlib.Path, options: Options, *, timbre: bool = True) -> Parts:
    """FACodec's prosody, or prosody and timbre."""
    module, variables = facodec.load(folder, timbre)
    processor = processors.CodecProcessor(whole=options.compat)
    return Parts(processor, module, variables)


def _text(family: ModuleType, folder: pathlib.Path, options: Options) -> Parts:
    """An encoder of tokens."""
    module, variables = family.load(folder, options.layer, jnp.dtype(options.dtype))
    processor = processors.TokenProcessor(
        tokenizer=tokens.load(folder, module.config.vocab),
        longest=module.max_tokens,
        pad=module.config.pad,
        padding=options.compat,
    )
    return Parts(processor, module, variables)


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

    def apply(variables, *arrays):
        with jax.default_matmul_precision(precision):
            made = module.apply(variables, *arrays)
        return made[0] if isinstance(made, tuple) else made

    count = jax.device_count()
    layout = devices.Layout.of(count)
    placed = layout.place(variables)
    # [B, T, D] or [L, B, T, D].
    apply = jax.jit(layout.apart(apply, axis=-3))

    def run(*arrays):
        # Variables are an argument, so that they are no constants of the program.
        return apply(placed, *layout.split(arrays))

    return BatchedEncoder(processor, run, budget=count * budget(), devices=count)


def budget() -> int:
    """Frames of a batch on a device."""
    return _CPU_BUDGET if jax.default_backend() == "cpu" else _BUDGET


_WAVEFORM = Family(
    "speech", _waveform, parameters.Naming(wav2vec.NAMES, wav2vec.PATTERN)
)
_MEL = parameters.Naming(whisper.NAMES, whisper.PATTERN, prefix="encoder.")
_BERT, _ROBERTA = (
    parameters.Naming(bert.NAMES, bert.pattern(name)) for name in ("bert", "roberta")
)
_DEBERTA = parameters.Naming(deberta.NAMES, deberta.PATTERN, start=1)
FAMILIES = {
    "hubert": _WAVEFORM,
    "wavlm": _WAVEFORM,
    "wav2vec2": _WAVEFORM,
    "whisper": Family("speech", _mel, _MEL),
    "facodec": Family("speech", _codec),
    "bert": Family("text", functools.partial(_text, bert), _BERT),
    "roberta": Family("text", functools.partial(_text, roberta), _ROBERTA),
    "deberta-v2": Family("text", functools.partial(_text, deberta), _DEBERTA),
}
