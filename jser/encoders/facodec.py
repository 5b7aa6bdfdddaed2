"""FACodec's prosody and timbre (NaturalSpeech 3, 2024), as the authors used them.

    module, variables = load(folder)
    with jax.default_matmul_precision("highest"):
        features, codes = module.apply(variables, waves, lengths)

19 of the codec's 110 M parameters; its vocoder, other quantisers and classifiers are
left out. Frames are 12.5 ms, and an utterance has the same ones in every batch.

Two peculiarities belong to the features. A waveform is padded with 1 to 200 zeros, a
whole hop of them if it was already a multiple of 200. And the transformers know no
positions: the authors' code adds the code of the position in the *batch*, which for
one file at a time is the first of the table, (0, 1, 0, 1, ...), on every frame.

A code is the best of 1024: TF32 or bfloat16, an accelerator's default, would pick other
ones.
"""

import functools
import pathlib
import re
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser import audio
from jser.encoders import attention, parameters, torch_file, transformer
from jser.encoders.facodec_encoder import ConvEncoder, is_real, zero_fill
from jser.shapes import Array

HUB = "amphion/naturalspeech3_facodec"
FILES = ("ns3_facodec_encoder_v2.bin", "ns3_facodec_decoder_v2.bin")
HOP = 200
FRAMES_PER_S = audio.SAMPLE_RATE_HZ / HOP
WIDTH = 256  # Of prosody, and of timbre.
_FFT = 1024
_WINDOW = 800
_MELS = 20  # The lowest of 80: up to 782 Hz.
_CODES = 1024
_CODE_WIDTH = 8
_EPSILON = 1e-5  # Of the layer norms.

_POSITIONS = 5000  # Rows of the position code, of which the first is used.
_BLOCK_NAMES = {
    # PyTorch's attention has no layer for its first projection.
    "query_key_value/kernel": "self_attn.in_proj_weight",
    "query_key_value/bias": "self_attn.in_proj_bias",
    "out": "self_attn.out_proj",
    "norm": "ln_1",
    "final_norm": "ln_2",
    "up": "ffn.ffn_1",
    "down": "ffn.ffn_2",
}
# Names in ConvEncoder are the published ones.
NAMES = {
    "mel/window": "mel_transform.hann_window",
    "mel/basis": "mel_transform.mel_basis",
    "mel_projection": "melspec_linear",
    "quantizer/book": "quantizer.0.layers.0._codebook",
    "quantizer/latent": "quantizer.0.layers.0.in_proj",
    "quantizer/out": "quantizer.0.layers.0.out_proj",
}
for _ours, _theirs in (("prosody", "melspec_encoder"), ("timbre", "timbre_encoder")):
    NAMES |= {
        f"{_ours}/position": f"{_theirs}.position_emb.pe",
        f"{_ours}/norm": f"{_theirs}.last_ln",
    }
    NAMES |= {
        f"{_ours}/block_{{}}/{k}": f"{_theirs}.layers.{{}}.{v}"
        for k, v in _BLOCK_NAMES.items()
    }
_USED = re.compile(r"(melspec_linear|melspec_encoder|timbre_encoder|quantizer\.0)\.")


def frames(samples: int) -> int:
    """How many frames an utterance of so many samples at 16 kHz has."""
    return samples // HOP + 1


class FaCodec(nn.Module):
    """The used path of FACodec.

    Attributes:
      timbre: Whether timbre is computed, too: what comes out of the timbre transformer,
        before the codec itself takes the mean over time. Without it the convolutional
        encoder and the timbre transformer need no parameters.
    """

    timbre: bool = True

    @nn.compact
    def __call__(
        self, waves: Float[Array, "B n"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, "B T"]]:
        """Encodes a batch of waveforms.

        Args:
          waves: Utterances at 16 kHz. What is on the padding does not matter, nor does
            how long it is.
          lengths: Samples of each, at least 1. The authors' code fails below 400.

        Returns:
          Features of n // 200 + 1 frames, of 12.5 ms each: prosody, 256 wide, one of
          1024 vectors that are told by the 20 lowest mel bands; then, if asked for, the
          speaker's timbre, 256 wide. And each frame's prosody code. Of utterance i the
          first `frames(lengths[i])` are real, and the others mean nothing.
        """
        T = frames(waves.shape[1])
        waves = jnp.pad(waves, ((0, 0), (0, T * HOP - waves.shape[1])))
        waves = zero_fill(waves[..., None], lengths)[..., 0]
        T_B = lengths // HOP + 1
        x = LogMel(name="mel")(waves, T_B * HOP)
        x = nn.Dense(WIDTH, name="mel_projection")(x)
        x = _Transformer(name="prosody")(x, T_B)
        features, codes = _Quantizer(name="quantizer")(x)
        if self.timbre:
            x = ConvEncoder(name="conv")(waves[..., None], T_B * HOP)
            x = _Transformer(name="timbre")(x, T_B)
            features = jnp.concatenate([features, x], axis=-1)
        return features, codes


class LogMel(nn.Module):
    """Natural logarithm of the magnitude in the 20 lowest of 80 mel bands up to 8 kHz.

    The authors centre a window of 800 in 1024 samples and reflect 412 at either end.
    Of these only the 800, which are four hops, and so a reflection of 300 matter. The
    window and the bands are those of the published file.
    """

    @nn.compact
    def __call__(
        self, waves: Float[Array, "B n"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B T 20"]:
        """A frame per 200 samples, of which the first `lengths[i] / 200` are real.

        Args:
          waves: Their length is a multiple of 200.
          lengths: Where each is reflected, multiples of 200.
        """
        B, n = waves.shape
        edge = (_WINDOW - HOP) // 2
        last_B1 = lengths[:, None] - 1
        sample = jnp.arange(-edge, n + edge) + last_B1
        # Goes back and forth between the ends as often as a short waveform needs.
        sample = jnp.abs(sample % (2 * last_B1) - last_B1)
        hops = jnp.take_along_axis(waves, sample, axis=1).reshape(B, -1, HOP)
        T = n // HOP
        windows = jnp.concatenate([hops[:, k : k + T] for k in range(4)], axis=-1)
        zeros = nn.initializers.zeros
        hann = self.param("window", zeros, (_WINDOW,))
        basis = self.param("basis", zeros, (80, _FFT // 2 + 1))[:_MELS]
        spectrum = jnp.fft.rfft(windows * hann, _FFT)
        magnitude = jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
        return jnp.log(jnp.maximum(magnitude @ basis.T, 1e-5))


class _Transformer(nn.Module):
    """Four pre-norm layers, four heads, a convolution in the feed-forward part."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B T D"]:
        real_BT = is_real(x, lengths)
        table = (_POSITIONS, 1, x.shape[-1])
        x = x + self.param("position", nn.initializers.zeros, table)[0, 0]
        for i in range(4):
            x = _Block(name=f"block_{i}")(x, real_BT)
        return transformer.norm(_EPSILON, "norm")(x)


class _Block(nn.Module):
    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        D = x.shape[-1]
        norm = functools.partial(transformer.norm, _EPSILON)
        qkv = nn.Dense(3 * D, name="query_key_value")(norm("norm")(x))
        q, k, v = (
            transformer.split_heads(part, 4) for part in jnp.split(qkv, 3, axis=-1)
        )
        x = x + nn.Dense(D, name="out")(attention.attend(q, k, v, real))
        h = jnp.where(real[..., None], norm("final_norm")(x), 0)
        h = nn.relu(nn.Conv(4 * D, (5,), padding=2, name="up")(h))
        return x + nn.Dense(D, name="down")(h)


class _Quantizer(nn.Module):
    """The entry of the code book with the greatest cosine; not itself normalised."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, "B T"]]:
        book = nn.Embed(_CODES, _CODE_WIDTH, name="book")
        latent = nn.Dense(_CODE_WIDTH, name="latent")(x)
        # The length of the latent itself changes no order.
        norm = jnp.linalg.norm(book.embedding, axis=-1)
        codes = jnp.argmax(book.attend(latent) / jnp.maximum(norm, 1e-12), axis=-1)
        return nn.Dense(x.shape[-1], name="out")(book(codes)), codes


def load(folder: pathlib.Path, timbre: bool = True) -> tuple[FaCodec, dict[str, Any]]:
    """The module and its variables, of the two published files in a folder.

    What is not used is not read: of the decoder all but `melspec_linear`,
    `melspec_encoder`, `timbre_encoder` and `quantizer.0`.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a tensor is missing or has another shape.
    """
    module = FaCodec(timbre)
    tree = parameters.shapes(module, np.zeros((1, HOP), np.float32), np.array([HOP]))
    first = {"mel": tree.pop("mel"), **tree.pop("conv", {})}
    filled = {}
    for name, part in zip(FILES, (first, tree), strict=True):
        path = folder / name
        pattern = _USED if part is tree else re.compile("")
        tensors = dict(torch_file.read(path, pattern))
        parameters.fold_weight_norm(tensors, path)
        filled |= parameters.fill(part, tensors, NAMES, path)
    conv = {name: filled.pop(name) for name in first if name != "mel"}
    return module, {"params": filled | ({"conv": conv} if timbre else {})}
