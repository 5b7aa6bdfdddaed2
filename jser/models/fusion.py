"""The paper's network, for any number of streams. docs/model.md draws it."""

from collections.abc import Callable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser import draws
from jser.models import layers
from jser.shapes import Array, Stream


class StreamEncoder(nn.Module):
    """Projection to H, LayerNorm, bi-GRU.

    Attributes:
      hidden: H.
      standardize: Bring columns to mean 0 and deviation 1 first, cut at 5 deviations,
        by the "standard" variables, which the trainer sets and nothing learns.
    """

    hidden: int
    standardize: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> Float[Array, "B T H2"]:
        """The stream's states, both directions side by side."""
        if self.standardize:
            width = x.shape[-1:]
            mean_D = self.variable("standard", "mean", jnp.zeros, width).value
            deviation_D = self.variable("standard", "deviation", jnp.ones, width).value
            x = jnp.clip((x - mean_D) / deviation_D, -5.0, 5.0)
        h = layers.linear(self.hidden, x.shape[-1], "projection")(x)
        h = nn.LayerNorm(epsilon=layers.LAYER_NORM_EPSILON, name="norm")(h)
        return layers.BiGru(self.hidden, name="gru")(h, mask)


class Head(nn.Module):
    """Linear, ReLU, dropout, linear."""

    hidden: int
    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "B F"], *, train: bool) -> Float[Array, "B _"]:
        """The logits."""
        h = nn.relu(layers.linear(self.hidden, x.shape[-1], "hidden")(x))
        h = draws.Dropout(self.dropout)(h, train=train)
        return layers.linear(self.outputs, self.hidden, "logits")(h)


class FusionClassifier(nn.Module):
    """Streams attend to each other, are pooled, joined and classified.

    Each stream is encoded; as query it attends to every other stream by one attention
    module of its own, and what it gathers is added to it; it is pooled over time; the
    pooled streams, side by side in the order of `streams`, are normalised and
    classified. A single stream has nobody to attend to and is only pooled.

    Padding is left out of recurrence, attention and pooling, so that neither batch
    mates nor the padded length change a logit.

    Attributes:
      streams: Names of the streams, in order.
      classes: Number of emotions, C.
      hidden: Width of the projections and of one GRU direction, H.
      heads: Attention heads by stream that asks; 1 where not named.
      dropout: Rate, on attention probabilities and in the head.
      standardize: Streams whose columns are scaled first.
      mask_padding: False reads padding like real frames, as the authors' code does.
    """

    streams: tuple[str, ...]
    classes: int
    hidden: int = 512
    heads: tuple[tuple[str, int], ...] = ()
    dropout: float = 0.5
    standardize: tuple[str, ...] = ()
    mask_padding: bool = True

    @nn.compact
    def __call__(
        self,
        streams: dict[str, Stream],
        *,
        train: bool,
        on_joint: Callable[[Array], Array] = lambda joint: joint,
    ) -> dict[str, Float[Array, "B _"]]:
        """Classifies a batch.

        Args:
          streams: The batch's streams, by the names of `self.streams`.
          train: Whether dropout is active; it needs the key "dropout".
          on_joint: Applied to the normalised joint vector [B, 2 K H] before the head.

        Returns:
          {"emotion": logits [B, C]}.
        """
        if set(streams) != set(self.streams):
            raise ValueError(
                f"the model reads {sorted(self.streams)}, got {sorted(streams)}"
            )
        mask, encoded = {}, {}
        for s in self.streams:
            real = streams[s].mask
            mask[s] = real if self.mask_padding else jnp.ones_like(real)
            x = streams[s].x.astype(jnp.float32)
            encode = StreamEncoder(
                self.hidden, s in self.standardize, name=f"{s}_encoder"
            )
            encoded[s] = encode(x, mask[s])

        pooled = []
        for s in self.streams:
            others = [o for o in self.streams if o != s]
            fused = encoded[s]
            if others:
                attend = layers.CrossAttention(
                    dict(self.heads).get(s, 1), self.dropout, name=f"{s}_attention"
                )
                for o in others:
                    fused += attend(encoded[s], encoded[o], mask[o], train=train)
            pooled.append(layers.AttentionPool(name=f"{s}_pool")(fused, mask[s]))

        norm = nn.LayerNorm(epsilon=layers.LAYER_NORM_EPSILON, name="norm")
        joint = on_joint(norm(jnp.concatenate(pooled, axis=-1)))
        head = Head(self.hidden, self.classes, self.dropout, name="emotion")
        return {"emotion": head(joint, train=train)}
