"""HuBERT, WavLM and wav2vec 2.0: one family of encoders of the waveform, in Flax.

    module, params = load(folder)
    states, mask = jax.jit(module.apply)(params, samples, lengths)

The three share their convolutions and their transformer and differ in flags of
config.json, which `Config` holds; WavLM adds a gated bias by relative position. Numbers
are those of transformers' PyTorch models to 3e-5; on GPUs and TPUs that takes
`jax.default_matmul_precision("highest")`, else JAX rounds what it multiplies.
"""

import dataclasses
import functools
import math
import pathlib
import re
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
import numpy as np

from jser.encoders import attention, layer_selection, weights
from jser.shapes import Array

_FAMILY = ("hubert", "wavlm", "wav2vec2")
# Flags that some models of the family set otherwise and that nothing here computes.
_FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
}
_CONV_EPSILON = 1e-5  # PyTorch's default; config.json's is for the transformer.

_gelu = functools.partial(nn.gelu, approximate=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What config.json and preprocessor_config.json say of a model."""

    width: int  # D.
    layers: int  # L.
    heads: int
    inner: int  # Width inside the feed-forward blocks.
    conv: tuple[tuple[int, int, int], ...]  # Width, kernel, stride of each layer.
    conv_bias: bool
    group_norm: bool  # Only the first convolution is normalised, over time.
    stable: bool  # Layers normalise their input, not their output.
    pos_kernel: int
    pos_groups: int
    epsilon: float
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
        c = weights.read_config(folder)
        where = folder / "config.json"
        if c.get("model_type") not in _FAMILY:
            raise ValueError(
                f"{where}: model_type is {c.get('model_type')!r}, not one of"
                f" {', '.join(_FAMILY)}."
            )
        for name, value in _FIXED.items():
            if c.get(name, value) != value:
                raise ValueError(
                    f"{where}: {name} = {c[name]!r} is not supported, only {value!r}."
                )
        preprocessor = weights.read_config(folder, "preprocessor_config.json")
        try:
            wavlm = c["model_type"] == "wavlm"
            return cls(
                width=c["hidden_size"],
                layers=c["num_hidden_layers"],
                heads=c["num_attention_heads"],
                inner=c["intermediate_size"],
                conv=tuple(
                    zip(c["conv_dim"], c["conv_kernel"], c["conv_stride"], strict=True)
                ),
                conv_bias=c["conv_bias"],
                group_norm={"group": True, "layer": False}[c["feat_extract_norm"]],
                stable=c["do_stable_layer_norm"],
                pos_kernel=c["num_conv_pos_embeddings"],
                pos_groups=c["num_conv_pos_embedding_groups"],
                epsilon=c["layer_norm_eps"],
                normalise=preprocessor.get("do_normalize", True),
                buckets=c["num_buckets"] if wavlm else 0,
                max_distance=c["max_bucket_distance"] if wavlm else 0,
            )
        except KeyError as e:
            raise ValueError(f"{where}: has no usable {e}. Fetch it again.") from e

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
      layer: Which hidden states are returned, as in `hidden`.
    """

    config: Config
    dtype: Any = jnp.float32
    layer: str = "all"

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
        x_BTD = _norm(c.epsilon, "projection_norm")(conv_BTF)
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
            dtype=self.dtype,
            name="position",
        )(x_BTD)
        x_BTD = x_BTD + _gelu(position_BTD)
        norm = _norm(c.epsilon, "norm")
        first_BTD = x_BTD if c.stable else norm(x_BTD)
        bias_HTT = _RelativeBias(c, name="bias")(x_BTD.shape[1]) if c.buckets else None
        states = layer_selection.run(
            _Layer(c, self.dtype, name="layers"),
            [first_BTD],
            mask_BT,
            bias_HTT,
            layers=c.layers,
            layer=self.layer,
            norm=norm if c.stable else None,
        )
        return states, mask_BT


def _norm(epsilon: float, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon, use_fast_variance=False, name=name)


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
                x_BTF = _norm(_CONV_EPSILON, f"norm_{i}")(x_BTF)
            x_BTF = _gelu(x_BTF.astype(self.dtype))
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
        bias_RH = nn.Embed(c.buckets, c.heads, name="buckets")(jnp.asarray(bucket))
        at_TT = jnp.arange(frames) - jnp.arange(frames)[:, None] + frames - 1
        return jnp.moveaxis(bias_RH[at_TT], -1, 0)


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


class _Layer(nn.Module):
    """A transformer layer."""

    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD, mask_BT, bias_HTT):
        c = self.config
        attend = _Attention(c, self.dtype, name="attention")
        norm, final_norm = _norm(c.epsilon, "norm"), _norm(c.epsilon, "final_norm")
        up = nn.Dense(c.inner, dtype=self.dtype, name="up")
        down = nn.Dense(c.width, dtype=self.dtype, name="down")
        if c.stable:
            x_BTD = x_BTD + attend(norm(x_BTD), mask_BT, bias_HTT)
            x_BTD = x_BTD + down(_gelu(up(final_norm(x_BTD))))
        else:
            x_BTD = norm(x_BTD + attend(x_BTD, mask_BT, bias_HTT))
            x_BTD = final_norm(x_BTD + down(_gelu(up(x_BTD))))
        return x_BTD


class _Attention(nn.Module):
    config: Config
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD, mask_BT, bias_HTT):
        c = self.config
        heads = (*x_BTD.shape[:2], c.heads, -1)
        q_BTHd, k_BTHd, v_BTHd = (
            nn.Dense(c.width, dtype=self.dtype, name=name)(x_BTD).reshape(heads)
            for name in ("query", "key", "value")
        )
        bias_BHTT = None
        if bias_HTT is not None:
            bias_BHTT = _Gate(name="gate")(x_BTD.reshape(heads)) * bias_HTT
        context_BTD = attention.attend(q_BTHd, k_BTHd, v_BTHd, mask_BT, bias_BHTT)
        return nn.Dense(c.width, dtype=self.dtype, name="out")(context_BTD)


class _Gate(nn.Module):
    """How much of the relative bias each frame and head wants: [B, H, T, 1]."""

    @nn.compact
    def __call__(self, x_BTHd):
        heads = x_BTHd.shape[2]
        constant_H = self.param("constant", nn.initializers.ones, (heads,))
        logits_BTH8 = nn.Dense(8, name="linear")(x_BTHd)
        gates = nn.sigmoid(logits_BTH8.reshape(*x_BTHd.shape[:3], 2, 4).sum(-1))
        a_BTH, b_BTH = gates[..., 0], gates[..., 1]
        gate_BTH = a_BTH * (b_BTH * constant_H - 1) + 2
        return jnp.moveaxis(gate_BTH, 1, 2)[..., None]


def load(folder: pathlib.Path, dtype=jnp.float32) -> tuple[Wav2Vec, dict[str, Any]]:
    """A checkpoint folder as a module and its parameters.

    Args:
      folder: Holds config.json, preprocessor_config.json and the weights, of the bare
        encoder or of a model with a head, which is not read.
      dtype: Of products and convolutions, and of the kernels in memory: float32, or
        bfloat16 for accelerators.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if the model is not supported or its weights do not fit its config.
    """
    config = Config.read(folder)
    prefix = rf"^(({'|'.join(_FAMILY)})\.)?"
    parts = r"(feature_extractor|feature_projection|encoder)\."
    found = weights.read_tensors(folder, prefix + parts)
    bare = {re.sub(prefix, "", name): x for name, x in found.items()}
    tensors = weights.Tensors(bare, folder, dtype)
    params = _params(config, tensors)
    tensors.finish()
    return Wav2Vec(config, dtype), {"params": params}


def _params(c: Config, t: weights.Tensors) -> dict[str, Any]:
    params: dict[str, Any] = {"conv": {}}
    for i in range(len(c.conv)):
        name = f"feature_extractor.conv_layers.{i}"
        params["conv"][f"conv_{i}"] = t.conv(f"{name}.conv", bias=c.conv_bias)
        if i == 0 or not c.group_norm:
            params["conv"][f"norm_{i}"] = t.norm(f"{name}.layer_norm")
    params["projection_norm"] = t.norm("feature_projection.layer_norm")
    params["projection"] = t.linear("feature_projection.projection")
    params["position"] = t.conv("encoder.pos_conv_embed.conv")
    params["norm"] = t.norm("encoder.layer_norm")
    if c.buckets:  # One table for all layers, which the first layer owns.
        table = t.array("encoder.layers.0.attention.rel_attn_embed.weight")
        params["bias"] = {"buckets": {"embedding": table}}
    params["layers"] = _layer_params(c, t)
    return params


def _layer_params(c: Config, t: weights.Tensors) -> dict[str, Any]:
    layer = "encoder.layers.{}"
    attention: dict[str, Any] = {
        ours: t.linear(f"{layer}.attention.{theirs}", c.layers)
        for ours, theirs in (
            ("query", "q_proj"),
            ("key", "k_proj"),
            ("value", "v_proj"),
            ("out", "out_proj"),
        )
    }
    if c.buckets:
        constant = t.array(f"{layer}.attention.gru_rel_pos_const", c.layers)
        attention["gate"] = {
            "constant": constant.reshape(c.layers, c.heads),
            "linear": t.linear(f"{layer}.attention.gru_rel_pos_linear", c.layers),
        }
    return {
        "attention": attention,
        "norm": t.norm(f"{layer}.layer_norm", c.layers),
        "up": t.linear(f"{layer}.feed_forward.intermediate_dense", c.layers),
        "down": t.linear(f"{layer}.feed_forward.output_dense", c.layers),
        "final_norm": t.norm(f"{layer}.final_layer_norm", c.layers),
    }
