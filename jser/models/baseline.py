"""The challenge's baseline: attentive statistics pooling and a small classifier.

The MSP-Podcast challenges of 2024 and 2025 fine-tune WavLM beneath it; here it reads
stored frames, so that WavLM stays frozen.
"""

from collections.abc import Callable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import dropout, fusion, layers
from jser.shapes import Array, Stream


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over real frames (Okabe et al., 2018).

    The weights are a softmax over time of v' tanh(W x + b).

    Attributes:
      dtype: Precision of W x.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B D2"]:
        """Mean and standard deviation side by side."""
        h = jnp.tanh(layers.Linear(x.shape[-1], self.dtype, name="hidden")(x))
        xavier = nn.initializers.xavier_normal()
        score = nn.Dense(1, use_bias=False, kernel_init=xavier, name="score")(h)
        weight_BT = nn.softmax(score[..., 0], where=mask)
        mean_BD = jnp.einsum("bt,btd->bd", weight_BT, x)
        square_BD = jnp.einsum("bt,btd->bd", weight_BT, x**2)
        deviation_BD = jnp.sqrt(jnp.maximum(square_BD - mean_BD**2, 1e-5))
        return jnp.concatenate([mean_BD, deviation_BD], axis=-1)


class PoolingClassifier(nn.Module):
    """Streams are pooled, joined and classified; none attends to another.

    Dropout, linear, LayerNorm, ReLU, dropout, linear. Padding changes no logit.

    Attributes:
      streams: Names of the streams, in order.
      classes: Number of emotions, C.
      hidden: Width of the hidden layer.
      dropout: Rate, before and after the hidden layer.
      standardize: Streams whose columns are scaled first.
      layers: What becomes of several layers, as `fusion.StreamInput` has it.
      extra: Further heads, one linear layer each, by name and number of outputs.
      dtype: Precision of the products, "float32" or "bfloat16"; all else is float32.
    """

    streams: tuple[str, ...]
    classes: int
    hidden: int = 1024
    dropout: float = 0.5
    standardize: tuple[str, ...] = ()
    layers: str = "mix"
    extra: tuple[tuple[str, int], ...] = ()
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        streams: dict[str, Stream],
        *,
        train: bool,
        on_joint: Callable[[Array], Array] = lambda joint: joint,
    ) -> dict[str, Float[Array, "B _"]]:
        """Classifies a batch; arguments and result are `FusionClassifier`'s."""
        fusion.refuse_other_streams(self.streams, streams)
        pooled = []
        for s in self.streams:
            scaled = s in self.standardize
            read = fusion.StreamInput(scaled, self.layers, name=f"{s}_input")
            pool = AttentiveStatistics(self.dtype, name=f"{s}_pool")
            pooled.append(pool(read(streams[s].x), streams[s].mask))
        joint = on_joint(jnp.concatenate(pooled, axis=-1))
        h = dropout.Dropout(self.dropout)(joint, train=train)
        h = layers.Linear(self.hidden, self.dtype, name="hidden")(h)
        h = nn.relu(layers.norm(name="norm")(h))
        h = dropout.Dropout(self.dropout)(h, train=train)
        outputs = {"emotion": layers.Linear(self.classes, name="logits")(h)}
        return outputs | {
            name: layers.Linear(n, name=name)(h) for name, n in self.extra
        }
