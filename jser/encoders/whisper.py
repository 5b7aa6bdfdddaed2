"""Whisper's log-mel spectrogram and its encoder, in numpy and Flax.

    module, params = load(folder)
    mel = log_mel(samples, module.config.bands)
    states = jax.jit(module.apply)(params, mel[None])[:, 0, : frames(len(samples))]

Numbers are those of transformers' PyTorch model to 3e-5, the spectrogram's to 1e-4; on
GPUs and TPUs that takes `jax.default_matmul_precision("highest")`.
"""

import dataclasses
import functools
import pathlib
import re
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from jser import audio
from jser.encoders import attention, layer_selection, weights
from jser.shapes import Array

WINDOW_SAMPLES = 30 * audio.SAMPLE_RATE_HZ  # What the encoder always reads.
_HOP = 160
_FFT = 400
_PREFIX = r"^(model\.)?encoder\."

_gelu = functools.partial(nn.gelu, approximate=False)


def frames(samples: int) -> int:
    """How many of the encoder's frames are about so many samples: one per 20 ms."""
    return -(-samples // (2 * _HOP))


def log_mel(samples: np.ndarray, bands: int) -> np.ndarray:
    """The spectrogram that Whisper reads, of 30 s, silence after the last sample.

    Mel bands up to 8 kHz (Slaney's), 25 ms windows every 10 ms, log10 of the power,
    floored 8 below the utterance's loudest bin, then moved and scaled to about [-1, 1].

    Args:
      samples: [n] float32 at 16 kHz, n <= 480000.
      bands: 80, or 128 for large-v3.

    Returns:
      [3000, bands] float32.

    Raises:
      ValueError: if there are more than 30 s.
    """
    if len(samples) > WINDOW_SAMPLES:
        raise ValueError(
            f"{len(samples)} samples are more than 30 s; cut them into windows of"
            f" {WINDOW_SAMPLES}."
        )
    padded = np.pad(samples, (0, WINDOW_SAMPLES - len(samples)))
    reflected = np.pad(padded, _FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(reflected, _FFT)[::_HOP][:-1]
    # Windows of silence are known without a transform.
    heard = min(-(-(len(samples) + _FFT // 2) // _HOP), len(windows))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    power = np.zeros((len(windows), bands))
    spectrum = np.fft.rfft(windows[:heard] * hann)
    power[:heard] = np.square(np.abs(spectrum)) @ _mel_filters(bands)
    log = np.log10(np.maximum(power, 1e-10))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)


@functools.cache
def _mel_filters(bands: int) -> np.ndarray:
    import librosa

    return librosa.filters.mel(sr=audio.SAMPLE_RATE_HZ, n_fft=_FFT, n_mels=bands).T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What config.json says of the encoder."""

    width: int  # D.
    layers: int  # L.
    heads: int
    inner: int  # Width inside the feed-forward blocks.
    bands: int  # Of the spectrogram.
    positions: int  # Frames of the output.

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is no Whisper or a variant not supported.
        """
        c = weights.read_config(folder)
        where = folder / "config.json"
        for name, value in (("model_type", "whisper"), ("activation_function", "gelu")):
            if c.get(name) != value:
                raise ValueError(f"{where}: {name} = {c.get(name)!r}, not {value!r}.")
        try:
            return cls(
                width=c["d_model"],
                layers=c["encoder_layers"],
                heads=c["encoder_attention_heads"],
                inner=c["encoder_ffn_dim"],
                bands=c["num_mel_bins"],
                positions=c["max_source_positions"],
            )
        except KeyError as e:
            raise ValueError(f"{where}: lacks {e}. Fetch it again.") from e


class WhisperEncoder(nn.Module):
    """The encoder, with all its hidden states or some.

    It has no mask: utterances are padded to 30 s of silence, which it was trained on,
    and their frames are cut out of the result. So a batch changes nothing.

    Attributes:
      config: The sizes.
      dtype: Of matrix products and convolutions. The sum that runs through the layers,
        norms and softmax are float32 whatever it is.
      layer: Which hidden states are returned, as in `hidden`.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"

    @nn.compact
    def __call__(self, mel: Float[Array, "B n M"]) -> Float[Array, "*L1 B T D"]:
        """Encodes a batch of spectrograms.

        Args:
          mel: What `log_mel` makes, twice as many frames as the encoder has.

        Returns:
          The states that `layer` asks for, float32; by default the input of the first
          layer and the output of every layer, the last one after the final LayerNorm.
          Of n samples, `frames(n)` are real.

        Raises:
          ValueError: if the spectrogram has another shape than the encoder reads.
        """
        c = self.config
        if mel.shape[1:] != (2 * c.positions, c.bands):
            raise ValueError(
                f"the spectrogram is {mel.shape[1:]}, not {(2 * c.positions, c.bands)}."
            )
        conv = functools.partial(nn.Conv, c.width, (3,), padding=1, dtype=self.dtype)
        x_BTD = _gelu(conv(name="conv_0")(mel))
        x_BTD = _gelu(conv(strides=2, name="conv_1")(x_BTD))
        place = nn.initializers.normal(0.02)
        position_TD = self.param("position", place, (c.positions, c.width))
        first_BTD = x_BTD.astype(jnp.float32) + position_TD
        return layer_selection.run(
            _Layer(c, self.dtype, name="layers"),
            [first_BTD],
            layers=c.layers,
            layer=self.layer,
            norm=_norm("norm"),
        )


def _norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class _Layer(nn.Module):
    """A transformer layer."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD):
        c = self.config
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        attention = _Attention(c, self.dtype, name="attention")
        x_BTD = x_BTD + attention(_norm("norm")(x_BTD))
        inner_BTF = dense(c.inner, name="up")(_norm("final_norm")(x_BTD))
        x_BTD = x_BTD + dense(c.width, name="down")(_gelu(inner_BTF))
        return x_BTD


class _Attention(nn.Module):
    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD):
        c = self.config
        dense = functools.partial(nn.Dense, c.width, dtype=self.dtype)
        heads = (*x_BTD.shape[:2], c.heads, -1)
        context_BTD = attention.attend(
            dense(name="query")(x_BTD).reshape(heads),
            dense(name="key", use_bias=False)(x_BTD).reshape(heads),
            dense(name="value")(x_BTD).reshape(heads),
        )
        return dense(name="out")(context_BTD)


def load(
    folder: pathlib.Path, dtype=jnp.float32
) -> tuple[WhisperEncoder, dict[str, Any]]:
    """The encoder of a checkpoint folder as a module and its parameters.

    Args:
      folder: Holds config.json and the weights; the decoder's are not read.
      dtype: Of products and convolutions, and of the kernels in memory: float32, or
        bfloat16 for accelerators.

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
    return WhisperEncoder(config, dtype), {"params": params}


def _params(c: Config, t: weights.Tensors) -> dict[str, Any]:
    attention = {
        ours: t.linear(f"layers.{{}}.self_attn.{theirs}", c.layers, ours != "key")
        for ours, theirs in (
            ("query", "q_proj"),
            ("key", "k_proj"),
            ("value", "v_proj"),
            ("out", "out_proj"),
        )
    }
    return {
        "conv_0": t.conv("conv1"),
        "conv_1": t.conv("conv2"),
        "position": t.array("embed_positions.weight"),
        "layers": {
            "attention": attention,
            "norm": t.norm("layers.{}.self_attn_layer_norm", c.layers),
            "up": t.linear("layers.{}.fc1", c.layers),
            "down": t.linear("layers.{}.fc2", c.layers),
            "final_norm": t.norm("layers.{}.final_layer_norm", c.layers),
        },
        "norm": t.norm("layer_norm"),
    }
