"""FACodec's prosody and timbre (NaturalSpeech 3, 2024), as the authors used them.

    params = load(encoder_state, decoder_state)
    prosody(params, waves, lengths)             # [B, T, 256]
    prosody_and_timbre(params, waves, lengths)  # [B, T, 512]

19 of the codec's 110 M parameters; its vocoder, other quantisers and classifiers are
left out. Frames are 12.5 ms, and an utterance has the same ones in every batch.

Two peculiarities belong to the features. A waveform is padded with 1 to 200 zeros, a
whole hop of them if it was already a multiple of 200. And the transformers know no
positions: the authors' code adds the code of the position in the *batch*, which for
one file at a time is the first of the table, (0, 1, 0, 1, ...), on every frame.
"""

from collections.abc import Mapping
import functools
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser import audio
from jser.encoders import attention
from jser.encoders.facodec_encoder import ConvEncoder, is_real, zero_fill
from jser.shapes import Array

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

State = Mapping[str, np.ndarray]  # By PyTorch's names.
Params = Mapping[str, Any]


def frames(samples: int) -> int:
    """How many frames an utterance of so many samples at 16 kHz has."""
    return samples // HOP + 1


def prosody(
    params: Params, waves: Float[Array, "B n"], lengths: Int[Array, " B"]
) -> Float[Array, "B T 256"]:
    """Prosody of every 12.5 ms: one of 1024 vectors, the front end `facodec_prosody`.

    Computed from the 20 lowest mel bands; the convolutional encoder is not run.

    Args:
      params: What `load` returns.
      waves: Utterances at 16 kHz. What is on the padding does not matter, nor does how
        long it is.
      lengths: Samples of each, at least 1. The authors' code fails below 400.

    Returns:
      n // 200 + 1 frames; of utterance i the first `frames(lengths[i])` are real, and
      the others mean nothing.
    """
    return _apply(FaCodec(timbre=False), params, waves, lengths)


def prosody_and_timbre(
    params: Params, waves: Float[Array, "B n"], lengths: Int[Array, " B"]
) -> Float[Array, "B T 512"]:
    """`prosody`, then the speaker's timbre on every frame: the front end `facodec`.

    Timbre is what comes out of FACodec's timbre transformer, before the codec itself
    takes the mean over time. Arguments and padding are those of `prosody`.
    """
    return _apply(FaCodec(), params, waves, lengths)


def _apply(model: "FaCodec", params: Params, waves, lengths):
    # A code is the best of 1024: TF32 or bfloat16, an accelerator's default, would
    # pick other ones.
    with jax.default_matmul_precision("highest"):
        features, _ = model.apply({"params": params}, waves, lengths)
    return features


class FaCodec(nn.Module):
    """The used path of FACodec; submodules have the names of the published files.

    Attributes:
      timbre: Whether timbre is computed, too; without it the convolutional encoder and
        the timbre transformer need no parameters.
    """

    timbre: bool = True

    @nn.compact
    def __call__(
        self, waves: Float[Array, "B n"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, "B T"]]:
        """Features of every frame, and its prosody code; see `prosody`."""
        T = frames(waves.shape[1])
        waves = jnp.pad(waves, ((0, 0), (0, T * HOP - waves.shape[1])))
        waves = zero_fill(waves[..., None], lengths)[..., 0]
        T_B = lengths // HOP + 1
        x = LogMel(name="mel_transform")(waves, T_B * HOP)
        x = nn.Dense(WIDTH, name="melspec_linear")(x)
        x = _Transformer(name="melspec_encoder")(x, T_B)
        features, codes = _Quantizer(name="quantizer.0.layers.0")(x)
        if self.timbre:
            x = ConvEncoder(name="encoder")(waves[..., None], T_B * HOP)
            x = _Transformer(name="timbre_encoder")(x, T_B)
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
        hann = self.param("hann_window", zeros, (_WINDOW,))
        basis = self.param("mel_basis", zeros, (80, _FFT // 2 + 1))[:_MELS]
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
        x = x + self.param("position_emb.pe", nn.initializers.zeros, x.shape[-1:])
        for i in range(4):
            x = _Layer(name=f"layers.{i}")(x, real_BT)
        return nn.LayerNorm(_EPSILON, use_fast_variance=False, name="last_ln")(x)


class _Layer(nn.Module):
    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], real: Bool[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        D = x.shape[-1]
        norm = functools.partial(nn.LayerNorm, _EPSILON, use_fast_variance=False)
        qkv = nn.Dense(3 * D, name="self_attn.in_proj")(norm(name="ln_1")(x))
        q, k, v = (
            part.reshape(*part.shape[:2], 4, -1) for part in jnp.split(qkv, 3, axis=-1)
        )
        x = x + nn.Dense(D, name="self_attn.out_proj")(attention.attend(q, k, v, real))
        h = jnp.where(real[..., None], norm(name="ln_2")(x), 0)
        h = nn.relu(nn.Conv(4 * D, (5,), padding=2, name="ffn.ffn_1")(h))
        return x + nn.Dense(D, name="ffn.ffn_2")(h)


class _Quantizer(nn.Module):
    """The entry of the code book with the greatest cosine; not itself normalised."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"]
    ) -> tuple[Float[Array, "B T D"], Int[Array, "B T"]]:
        book = nn.Embed(_CODES, _CODE_WIDTH, name="_codebook")
        latent = nn.Dense(_CODE_WIDTH, name="in_proj")(x)
        # The length of the latent itself changes no order.
        norm = jnp.linalg.norm(book.embedding, axis=-1)
        codes = jnp.argmax(book.attend(latent) / jnp.maximum(norm, 1e-12), axis=-1)
        return nn.Dense(x.shape[-1], name="out_proj")(book(codes)), codes


def load(encoder_state: State, decoder_state: State) -> dict[str, Any]:
    """The parameters of `FaCodec` from the published files' arrays.

    Weight normalisation is folded into the kernels. What is not used is ignored: of the
    decoder all but `melspec_linear`, `melspec_encoder`, `timbre_encoder` and
    `quantizer.0`, and all position codes but the first.

    Args:
      encoder_state: Of `ns3_facodec_encoder_v2.bin`.
      decoder_state: Of `ns3_facodec_decoder_v2.bin`.

    Raises:
      ValueError: if an array is missing or has another shape.
    """
    params = {}
    for path, shape in _shapes().items():
        in_encoder = path[0] in ("encoder", "mel_transform")
        file = "encoder" if in_encoder else "decoder"
        name = _published_name(path)
        try:
            array = _array(encoder_state if in_encoder else decoder_state, name)
        except KeyError as e:
            raise ValueError(f"FACodec's {file} lacks {e.args[0]}.") from e
        if path[-1] == "position_emb.pe":
            array = array[0, 0]
        if path[-1] == "kernel":
            array = array.T  # Output, input, width; or output, input.
        if array.shape != shape:
            raise ValueError(
                f"FACodec's {file}: {name} makes {array.shape}, not {shape}."
            )
        params[path] = array
    return traverse_util.unflatten_dict(params)


@functools.cache
def _shapes() -> dict[tuple[str, ...], tuple[int, ...]]:
    """Of every parameter of `FaCodec`, by its path."""
    waves, lengths = np.zeros((1, HOP), np.float32), np.array([HOP])
    params = jax.eval_shape(FaCodec().init, jax.random.key(0), waves, lengths)
    leaves: Any = traverse_util.flatten_dict(params["params"])
    return {path: leaf.shape for path, leaf in leaves.items()}


def _published_name(path: tuple[str, ...]) -> str:
    *modules, leaf = path
    weight = leaf in ("kernel", "scale", "embedding")
    name = ".".join([*modules, "weight" if weight else leaf])
    # PyTorch's attention has no layer for its first projection.
    name = name.replace("self_attn.in_proj.", "self_attn.in_proj_")
    return name.removeprefix("encoder.")  # The encoder's own file.


def _array(state: State, name: str) -> np.ndarray:
    """float32, with weight normalisation, if there is any, folded in."""
    if {f"{name}_g", f"{name}_v"}.isdisjoint(state):
        return np.asarray(state[name], np.float32)
    gain = np.asarray(state[f"{name}_g"], np.float32)
    direction = np.asarray(state[f"{name}_v"], np.float32)
    norm = np.sqrt(np.sum(direction**2, axis=tuple(range(1, direction.ndim))))
    return direction * gain / norm.reshape(gain.shape)
