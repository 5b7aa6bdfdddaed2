"""HuBERT, WavLM and wav2vec 2.0: one family of encoders of the waveform, in Flax.

    module, params = load(folder)
    states, mask = jax.jit(module.apply)(params, samples, lengths)

The three share their convolutions and their transformer and differ in flags of
config.json, which `Config` holds; WavLM adds a gated bias by relative position. Numbers
are those of transformers' PyTorch models to 3e-5; on GPUs and TPUs that takes
`jax.default_matmul_precision("highest")`, else JAX rounds what it multiplies.
"""

import dataclasses
import math
import pathlib
from typing import Any

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import (
    family_config,
    layer_selection,
    parameters,
    transformer,
    weights,
)
from jser.encoders.transformer import gelu, norm
from jser.shapes import Array

_FAMILY = ("hubert", "wavlm", "wav2vec2")
PATTERN = (
    r"((hubert|wavlm|wav2vec2)\.)?(?=(feature_extractor|feature_projection|encoder)\.)"
)
NAMES = {
    "conv/conv_{}": "feature_extractor.conv_layers.{}.conv",
    "conv/norm_{}": "feature_extractor.conv_layers.{}.layer_norm",
    "projection_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "position": "encoder.pos_conv_embed.conv",
    "position_bias": "encoder.pos_conv_embed.conv.bias",
    "norm": "encoder.layer_norm",
    # One table for all blocks, which the first one owns.
    "bias/buckets": "encoder.layers.0.attention.rel_attn_embed",
    "blocks/attention/query": "encoder.layers.{}.attention.q_proj",
    "blocks/attention/key": "encoder.layers.{}.attention.k_proj",
    "blocks/attention/value": "encoder.layers.{}.attention.v_proj",
    "blocks/attention/out": "encoder.layers.{}.attention.out_proj",
    "blocks/attention/gate/constant": "encoder.layers.{}.attention.gru_rel_pos_const",
    "blocks/attention/gate/linear": "encoder.layers.{}.attention.gru_rel_pos_linear",
    "blocks/norm": "encoder.layers.{}.layer_norm",
    "blocks/up": "encoder.layers.{}.feed_forward.intermediate_dense",
    "blocks/down": "encoder.layers.{}.feed_forward.output_dense",
    "blocks/final_norm": "encoder.layers.{}.final_layer_norm",
}
_KEYS = family_config.SIZES | {
    "conv_bias": "conv_bias",
    "norm_first": "do_stable_layer_norm",
    "pos_kernel": "num_conv_pos_embeddings",
    "pos_groups": "num_conv_pos_embedding_groups",
    "epsilon": "layer_norm_eps",
}
_WAVLM_KEYS = {"buckets": "num_buckets", "max_distance": "max_bucket_distance"}
# Flags that some models of the family set otherwise and that nothing here computes.
_FLAGS = (
    ("hidden_act", "gelu", "gelu"),
    ("feat_extract_activation", "gelu", "gelu"),
    ("feat_proj_layer_norm", True, True),
    ("conv_pos_batch_norm", False, False),
    ("add_adapter", False, False),
    ("adapter_attn_dim", None, None),
)
_CONV_EPSILON = 1e-5  # PyTorch's default; config.json's is for the transformer.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(transformer.Config):
    """What config.json and preprocessor_config.json say of a model."""

    conv: tuple[tuple[int, int, int], ...]  # Width, kernel, stride of each layer.
    conv_bias: bool
    group_norm: bool  # Only the first convolution is normalised, over time.
    pos_kernel: int
    pos_groups: int
    normalise: bool  # Whether the waveform wants zero mean and unit variance.
    buckets: int = 0  # Of relative positions; WavLM alone has them.
    max_distance: int = 0

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Config":
        """Reads a checkpoint folder.

        Raises:
          FileNotFoundError: if one of the two files is missing.
          ValueError: if the model is none of the family or a variant not supported.
        """
        wavlm = weights.read_config(folder).get("model_type") == "wavlm"
        keys = _KEYS | (_WAVLM_KEYS if wavlm else {})
        lists = {key: key for key in ("conv_dim", "conv_kernel", "conv_stride")}
        kind = {"kind": "feat_extract_norm"}
        fields, _ = family_config.read(folder, _FAMILY, keys | lists | kind, _FLAGS)
        layers = [fields.pop(key) for key in lists]
        if (kind := fields.pop("kind")) not in ("group", "layer"):
            raise ValueError(
                f"{folder / 'config.json'}: feat_extract_norm = {kind!r} is not"
                " supported, only 'group' and 'layer'."
            )
        preprocessor = weights.read_config(folder, "preprocessor_config.json")
        with family_config.reading(folder):
            conv = tuple(zip(*layers, strict=True))
        return cls(
            **fields,
            conv=conv,
            group_norm=kind == "group",
            normalise=preprocessor.get("do_normalize", True),
        )

    def frames(self, samples: Any) -> Any:
        """Frames of so many samples, an integer or an array of them.

        (n - 400) // 320 + 1 for the usual seven convolutions; none, that is 0 or less,
        where the samples do not fill one.
        """
        for _, kernel, stride in self.conv:
            samples = (samples - kernel) // stride + 1
        return samples


def normalise(samples: np.ndarray) -> np.ndarray:
    """The utterance with zero mean and unit variance, as `Config.normalise` wants it.

    Args:
      samples: [n] float32, one whole utterance without padding.

    Returns:
      [n] float32. Silence stays silence.
    """
    centred = samples - samples.mean()
    return (centred / np.sqrt(samples.var() + 1e-7)).astype(np.float32)


class Wav2Vec(nn.Module):
    """The encoder, with all its hidden states or some.

    Padding is never seen, so that an utterance's frames depend neither on the batch it
    is in nor on the length that is padded to. With `group_norm` too: PyTorch lets
    padding into that norm, so its numbers for those models are met by utterances that
    it computes alone; here the norm is over each utterance's real frames.

    Attributes:
      config: The model's flags and sizes.
      dtype: Of matrix products and convolutions. The first convolution, the sum that
        runs through the layers, norms and softmax are float32 whatever it is.
      layer: Which hidden states are returned, as in `layer_selection`.
      remat: Whether a gradient computes blocks again instead of keeping them.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"
    remat: bool = False

    @nn.compact
    def __call__(
        self, samples: Float[Array, "B n"], lengths: Int[Array, " B"]
    ) -> tuple[Float[Array, "*L1 B T D"], Bool[Array, "B T"]]:
        """Encodes a batch of waveforms.

        Args:
          samples: 16 kHz, each utterance normalised if the config wants it, then
            padded with whatever.
          lengths: How many samples of each are real; at least 400, or the utterance
            has no frame.

        Returns:
          The states that `layer` asks for, float32; by default the input of the first
          layer and the output of every layer, the last one after the final LayerNorm.
          On padding they mean nothing. And which frames are real.

        Raises:
          ValueError: if `samples` is too short for one frame.
        """
        c = self.config
        if c.frames(samples.shape[1]) < 1:
            raise ValueError(f"{samples.shape[1]} samples are too few for one frame.")
        conv_BTF = _Convolutions(c, self.dtype, name="conv")(samples, lengths)
        x_BTD = norm(c.epsilon, "projection_norm")(conv_BTF)
        x_BTD = nn.Dense(c.width, dtype=self.dtype, name="projection")(x_BTD)
        mask_BT = jnp.arange(x_BTD.shape[1]) < c.frames(lengths)[:, None]
        # Zeros are what a convolution finds beyond the end of an unpadded utterance.
        x_BTD = jnp.where(mask_BT[..., None], x_BTD, 0).astype(jnp.float32)
        half = c.pos_kernel // 2
        position_BTD = nn.Conv(
            c.width,
            (c.pos_kernel,),
            padding=[(half, c.pos_kernel - 1 - half)],
            feature_group_count=c.pos_groups,
            use_bias=False,
            dtype=self.dtype,
            name="position",
        )(x_BTD)
        # With the bias in it, cuDNN has no fast kernel for groups (accelerator.md).
        position_BTD = lax.optimization_barrier(position_BTD)
        bias_D = self.param("position_bias", nn.initializers.zeros, (c.width,))
        x_BTD = x_BTD + gelu(position_BTD + bias_D)
        ends = norm(c.epsilon, "norm")
        first_BTD = x_BTD if c.norm_first else ends(x_BTD)
        bias_ATT = _RelativeBias(c, name="bias")(x_BTD.shape[1]) if c.buckets else None
        states = layer_selection.run(
            transformer.Block(c, self.dtype, _Attention, name="blocks"),
            [first_BTD],
            mask_BT,
            bias_ATT,
            layers=c.layers,
            layer=self.layer,
            remat=self.remat,
            norm=ends if c.norm_first else None,
        )
        return states, mask_BT


class _Convolutions(nn.Module):
    """The waveform to one frame per 20 ms."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, samples_Bn, lengths_B):
        c, x_BTF = self.config, samples_Bn[..., None]
        for i, (width, kernel, stride) in enumerate(c.conv):
            # A waveform rounded to bfloat16 would be a noisy one.
            x_BTF = nn.Conv(
                width,
                (kernel,),
                (stride,),
                padding="VALID",
                use_bias=c.conv_bias,
                dtype=self.dtype if i else jnp.float32,
                name=f"conv_{i}",
            )(x_BTF)
            if c.group_norm and i == 0:
                frames_B = (lengths_B - kernel) // stride + 1
                mask_BT = jnp.arange(x_BTF.shape[1]) < frames_B[:, None]
                x_BTF = _NormOverTime(name="norm_0")(x_BTF, mask_BT)
            elif not c.group_norm:
                x_BTF = norm(_CONV_EPSILON, f"norm_{i}")(x_BTF)
            x_BTF = gelu(x_BTF.astype(self.dtype))
        return x_BTF


class _NormOverTime(nn.Module):
    """Each channel of each utterance normalised over its real frames."""

    @nn.compact
    def __call__(self, x_BTF, mask_BT):
        width = x_BTF.shape[-1]
        scale_F = self.param("scale", nn.initializers.ones, (width,))
        bias_F = self.param("bias", nn.initializers.zeros, (width,))
        mask_BT1 = mask_BT[..., None]
        mean_B1F = x_BTF.mean(1, keepdims=True, where=mask_BT1)
        var_B1F = jnp.square(x_BTF - mean_B1F).mean(1, keepdims=True, where=mask_BT1)
        return (x_BTF - mean_B1F) / jnp.sqrt(var_B1F + _CONV_EPSILON) * scale_F + bias_F


class _RelativeBias(nn.Module):
    """WavLM's learned bias by how far apart two frames are, before it is gated."""

    config: Config

    @nn.compact
    def __call__(self, frames: int):
        c = self.config
        distance = np.arange(1 - frames, frames)
        bucket = relative_bucket(distance, c.buckets, c.max_distance)
        bias_RA = nn.Embed(c.buckets, c.heads, name="buckets")(jnp.asarray(bucket))
        at_TT = jnp.arange(frames) - jnp.arange(frames)[:, None] + frames - 1
        return jnp.moveaxis(bias_RA[at_TT], -1, 0)


def relative_bucket(
    distance: np.ndarray, buckets: int, max_distance: int
) -> np.ndarray:
    """The bucket of a distance in frames, key minus query, as in WavLM.

    Half of the buckets are for keys after the query. Of each half, half hold one
    distance each; the others widen logarithmically up to `max_distance`.
    """
    half = buckets // 2
    exact = half // 2
    far = np.abs(distance)
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(math.log(max_distance / exact))
    coarse = (exact + ratio * np.float32(half - exact)).astype(np.int32)
    fine = np.where(far < exact, far, np.minimum(coarse, half - 1))
    return (distance > 0) * half + fine


class _Attention(transformer.Attention):
    """Self-attention, to whose scores WavLM adds the gated relative bias."""

    def bias(self, x_BTD, *shared):
        (bias_ATT,) = shared
        if bias_ATT is None:
            return None
        heads = transformer.split_heads(x_BTD, self.config.heads)
        return _Gate(name="gate")(heads) * bias_ATT


class _Gate(nn.Module):
    """How much of the relative bias each frame and head wants: [B, A, T, 1]."""

    @nn.compact
    def __call__(self, x_BTAE):
        A = x_BTAE.shape[2]
        constant_1A11 = self.param("constant", nn.initializers.ones, (1, A, 1, 1))
        logits_BTA8 = nn.Dense(8, name="linear")(x_BTAE)
        gates = nn.sigmoid(logits_BTA8.reshape(*x_BTAE.shape[:3], 2, 4).sum(-1))
        a_BTA, b_BTA = gates[..., 0], gates[..., 1]
        gate_BTA = a_BTA * (b_BTA * constant_1A11[0, :, 0, 0] - 1) + 2
        return jnp.moveaxis(gate_BTA, 1, 2)[..., None]


def load(
    folder: pathlib.Path, layer: str = "all", dtype: Any = jnp.float32
) -> tuple[Wav2Vec, dict[str, Any]]:
    """The encoder of a checkpoint folder as a module and its variables.

    Args:
      folder: Holds config.json, preprocessor_config.json and the weights, of the bare
        encoder or of a model with a head, which is not read.
      layer: Which hidden states it is to return, as in `layer_selection`.
      dtype: Of products and convolutions, and of the kernels in memory: float32, or
        bfloat16 for accelerators.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if the model is not supported or its weights do not fit its config.
    """
    module = Wav2Vec(Config.read(folder), dtype, layer)
    second_of_sound = np.zeros((1, 16_000), np.float32), np.array([16_000])
    return module, parameters.load(
        module, second_of_sound, folder, NAMES, pattern=PATTERN, dtype=dtype
    )
