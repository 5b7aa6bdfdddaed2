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
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from jser import audio, caches
from jser.encoders import family_config, layer_selection, parameters, transformer
from jser.encoders.transformer import gelu
from jser.shapes import Array

WINDOW_SAMPLES = 30 * audio.SAMPLE_RATE_HZ  # What the encoder always reads.
_HOP = 160
_FFT = 400
PATTERN = r"(model\.)?encoder\."
NAMES = {
    "conv_{}": "conv{}",
    "position": "embed_positions.weight",
    "norm": "layer_norm",
    "blocks/attention/query": "layers.{}.self_attn.q_proj",
    "blocks/attention/key": "layers.{}.self_attn.k_proj",
    "blocks/attention/value": "layers.{}.self_attn.v_proj",
    "blocks/attention/out": "layers.{}.self_attn.out_proj",
    "blocks/norm": "layers.{}.self_attn_layer_norm",
    "blocks/up": "layers.{}.fc1",
    "blocks/down": "layers.{}.fc2",
    "blocks/final_norm": "layers.{}.final_layer_norm",
}
_KEYS = {
    "width": "d_model",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "inner": "encoder_ffn_dim",
    "bands": "num_mel_bins",
    "positions": "max_source_positions",
}
FLAGS = (("activation_function", None, "gelu"),)


def frames(samples: Any) -> Any:
    """How many of the encoder's frames are about so many samples: one per 20 ms.

    Of an integer, or an array of them.
    """
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
    spoken = min(-(-(len(samples) + _FFT // 2) // _HOP), len(windows))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    power = np.zeros((len(windows), bands))
    spectrum = np.fft.rfft(windows[:spoken] * hann)
    power[:spoken] = np.square(np.abs(spectrum)) @ _mel_filters(bands)
    log = np.log10(np.maximum(power, 1e-10))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)


def log_mel_of_batch(
    samples: Float[Array, "B n"], bands: int
) -> Float[Array, "B F bands"]:
    """`log_mel` of a batch within a program, cut after the sound; equal to 1e-4.

    Args:
      samples: As there, silence after each's last one; n is a multiple of 320.
      bands: As there.
    """
    F, ends = samples.shape[1] // _HOP, "highest"
    # What comes after a window of less than 30 s is silence, too.
    after = "reflect" if samples.shape[1] == WINDOW_SAMPLES else "constant"
    half = _FFT // 2
    padded = jnp.pad(samples, ((0, 0), (half, 0)), mode="reflect")
    padded = jnp.pad(padded, ((0, 0), (0, half)), mode=after)
    at = _HOP * np.arange(F)[:, None] + np.arange(_FFT)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
    spectrum = jnp.fft.rfft(padded[:, at] * hann.astype(np.float32))
    filters = _mel_filters(bands).astype(np.float32)
    power = jnp.matmul(jnp.square(jnp.abs(spectrum)), filters, precision=ends)
    log = jnp.log10(jnp.maximum(power, 1e-10))
    return (jnp.maximum(log, log.max(axis=(1, 2), keepdims=True) - 8) + 4) / 4


@functools.cache
def _mel_filters(bands: int) -> np.ndarray:
    caches.for_numba()
    import librosa

    return librosa.filters.mel(sr=audio.SAMPLE_RATE_HZ, n_fft=_FFT, n_mels=bands).T


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(transformer.Config):
    """What config.json says of the encoder."""

    bands: int  # Of the spectrogram.
    positions: int  # Frames of the output.
    norm_first: bool = True
    key_bias: bool = False

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if config.json is missing.
          ValueError: if it is no Whisper or a variant not supported.
        """
        return cls(**family_config.read(folder, ("whisper",), _KEYS, FLAGS)[0])


class WhisperEncoder(nn.Module):
    """The encoder, with all its hidden states or some.

    Utterances are padded to 30 s of silence, which it was trained on, and their frames
    are cut out of the result. So a batch changes nothing. Where it is short, they are
    padded to less; those of one length make a batch, or each is told its `frames`.

    Attributes:
      config: The sizes.
      dtype: Of matrix products and convolutions. The sum that runs through the layers,
        norms and softmax are float32 whatever it is.
      layer: Which hidden states are returned, as in `layer_selection`.
      remat: Whether a gradient computes blocks again instead of keeping them.
      short: Whether spectrograms may be shorter than the positions, the last of which
        are then left out.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"
    remat: bool = False
    short: bool = False

    @nn.compact
    def __call__(
        self, mel: Float[Array, "B n bands"], frames: Int[Array, " B"] | None = None
    ) -> Float[Array, "*L1 B T D"]:
        """Encodes a batch of spectrograms.

        Args:
          mel: What `log_mel` makes, twice as many frames as the encoder has; where it
            is short, its beginning, of an even number of frames.
          frames: Of the states that each utterance would have alone, its own silence
            included; what is beyond it does not see. None for all.

        Returns:
          The states that `layer` asks for, float32; by default the input of the first
          layer and the output of every layer, the last one after the final LayerNorm.
          Of n samples, `frames(n)` are real.

        Raises:
          ValueError: if the spectrogram has another shape than the encoder reads.
        """
        c, (_, n, bands) = self.config, mel.shape
        fits = n == 2 * c.positions
        if self.short:
            fits = 0 < n <= 2 * c.positions and n % 2 == 0
        if not fits or bands != c.bands:
            raise ValueError(
                f"the spectrogram is {mel.shape[1:]}, not {(2 * c.positions, c.bands)}."
            )
        seen = ()
        if frames is not None:
            seen = (jnp.arange(n // 2) < frames[:, None],)
            mel = jnp.where(jnp.repeat(seen[0], 2, axis=1)[..., None], mel, 0)
        conv = functools.partial(nn.Conv, c.width, (3,), padding=1, dtype=self.dtype)
        x_BTD = gelu(conv(name="conv_1")(mel))
        x_BTD = gelu(conv(strides=2, name="conv_2")(x_BTD))
        place = nn.initializers.normal(0.02)
        position_TD = self.param("position", place, (c.positions, c.width))
        first_BTD = x_BTD.astype(jnp.float32) + position_TD[: n // 2]
        return layer_selection.run(
            transformer.Block(c, self.dtype, name="blocks"),
            [first_BTD],
            *seen,
            layers=c.layers,
            layer=self.layer,
            remat=self.remat,
            norm=transformer.norm(c.epsilon, "norm"),
        )


def load(
    folder: pathlib.Path, layer: str = "all", dtype: Any = jnp.float32
) -> tuple[WhisperEncoder, dict[str, Any]]:
    """The encoder of a checkpoint folder as a module and its variables.

    Args:
      folder: Holds config.json and the weights; the decoder's are not read.
      layer: Which hidden states it is to return, as in `layer_selection`.
      dtype: Of products and convolutions, and of the kernels in memory: float32, or
        bfloat16 for accelerators.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if the model is not supported or its weights do not fit its config.
    """
    module = WhisperEncoder(config := Config.read(folder), dtype, layer)
    mel = np.zeros((1, 2 * config.positions, config.bands), np.float32)
    return module, parameters.load(
        module, (mel,), folder, NAMES, pattern=PATTERN, dtype=dtype
    )
