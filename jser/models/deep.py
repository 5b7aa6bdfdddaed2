"""Deep fusion: streams meet in time at two depths of small transformers.

The network of MEDUSA (emopodntua/medusa, Interspeech 2025), first of its challenge,
with masks that its code lacks. docs/model.md draws it.
"""

from collections.abc import Callable, Sequence

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import attention, dropout, fusion, layers
from jser.shapes import Array, Stream


class Layer(nn.Module):
    """`torch.nn.TransformerEncoderLayer` of one head, post-norm, with ReLU.

    Attributes:
      dropout: Rate, on attention probabilities, within the feed-forward of 4 H, and on
        what either adds.
      dtype: Precision of the products.
    """

    dropout: float
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T H"], mask: Bool[Array, "B T"], *, train: bool
    ) -> Float[Array, "B T H"]:
        """The frames after the layer; padding is attended to by none."""
        H, drop = x.shape[-1], dropout.Dropout(self.dropout)
        attend = attention.CrossAttention(
            dropout=self.dropout, dtype=self.dtype, name="attention"
        )
        gathered = attend(x, [(x, mask)], train=train).frames(self.dtype)
        x = layers.norm("norm")(x + drop(gathered, train=train))
        h = nn.relu(layers.Linear(4 * H, self.dtype, name="up")(x))
        h = layers.Linear(H, self.dtype, name="down")(drop(h, train=train))
        return layers.norm("final_norm")(x + drop(h, train=train))


class Leg(nn.Module):
    """Linear to H, ReLU, linear, and two layers without positions.

    Attributes:
      hidden: H.
      dropout: Rate, in the layers.
      dtype: Precision of the products.
    """

    hidden: int
    dropout: float
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"], *, train: bool
    ) -> tuple[Float[Array, "B T H"], Float[Array, "B T H"]]:
        """The frames after the first layer and after the second."""
        h = nn.relu(layers.Linear(self.hidden, self.dtype, name="input")(x))
        h = layers.Linear(self.hidden, self.dtype, name="projection")(h)
        first = Layer(self.dropout, self.dtype, name="first")(h, mask, train=train)
        layer = Layer(self.dropout, self.dtype, name="second")
        return first, layer(first, mask, train=train)


def in_a_row(
    parts: Sequence[tuple[Float[Array, "B _ H"], Bool[Array, "B _"]]],
) -> tuple[Float[Array, "B T H"], Bool[Array, "B T"]]:
    """The real frames of all parts, one part after another, and then all padding.

    Padding between two parts would move the frames behind it, and dropout is drawn by
    where a frame stands.
    """
    x_BTH, mask_BT = (jnp.concatenate(of, axis=1) for of in zip(*parts, strict=True))
    order_BT = jnp.argsort(~mask_BT, axis=1, stable=True)
    x_BTH = jnp.take_along_axis(x_BTH, order_BT[..., None], axis=1)
    return x_BTH, jnp.take_along_axis(mask_BT, order_BT, axis=1)


def _mean(x_BTH: Array, mask_BT: Array) -> Array:
    return jnp.mean(x_BTH, axis=1, where=mask_BT[..., None])


class DeepClassifier(nn.Module):
    """A leg for each stream, and two that read what the others make, in a row in time.

    The first of the two reads all frames after first layers; the second all frames
    after second layers, those of the first of the two as well. The means over time of
    the second layers of the streams' legs and of the last leg stand side by side;
    linear to H, ReLU, linear. Padding changes no logit.

    Attributes:
      streams: Names of the streams, in order.
      classes: Number of emotions, C.
      hidden: Width of all legs and of the joint vector, H.
      dropout: Rate, in the layers; MEDUSA's is 0.1.
      standardize: Streams whose columns are scaled first.
      layers: What becomes of several layers, as `fusion.StreamInput` has it.
      extra: Further heads, one linear layer each, by name and number of outputs.
      dtype: Precision of the products, "float32" or "bfloat16"; all else is float32.
    """

    streams: tuple[str, ...]
    classes: int
    hidden: int = 512
    dropout: float = 0.1
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
        """Classifies a batch; arguments and result are `FusionClassifier`'s.

        `on_joint` is applied to the joint vector [B, H], before its ReLU.
        """
        fusion.refuse_other_streams(self.streams, streams)
        legs = (self.hidden, self.dropout, self.dtype)
        first, second = [], []
        for s in self.streams:
            scaled, mask = s in self.standardize, streams[s].mask
            read = fusion.StreamInput(scaled, self.layers, name=f"{s}_input")
            leg = Leg(*legs, name=f"{s}_leg")
            one, two = leg(read(streams[s].x), mask, train=train)
            first.append((one, mask))
            second.append((two, mask))
        x, mask = in_a_row(first)
        _, fused = Leg(*legs, name="first_fusion")(x, mask, train=train)
        x, mask = in_a_row([*second, (fused, mask)])
        _, fused = Leg(*legs, name="second_fusion")(x, mask, train=train)
        means = [_mean(*frames) for frames in (*second, (fused, mask))]
        linear = layers.Linear(self.hidden, self.dtype, name="joint")
        joint = nn.relu(on_joint(linear(jnp.concatenate(means, axis=-1))))
        heads = {"emotion": self.classes} | dict(self.extra)
        return {name: layers.Linear(n, name=name)(joint) for name, n in heads.items()}
