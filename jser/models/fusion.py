"""The paper's network, for any number of streams. docs/model.md draws it."""

from collections.abc import Callable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser.models import attention, dropout, layers, recurrence
from jser.shapes import Array, Stream

MIX = "layers"  # Name of the parameters that weigh the layers of an encoder.


class StreamInput(nn.Module):
    """Frames as the network reads them: float32, one vector a frame.

    Attributes:
      standardize: Bring columns to mean 0 and standard deviation 1 first, cut at 5
        of them, by the "standard" variables, which the trainer sets and nothing learns.
      layers: Where a stream carries several layers of its encoder, [B, T, L, D]: "mix",
        their weighted sum, [B, T, D], the weights a softmax and learned, equal at
        first; or "beside" each other, [B, T, L D].
    """

    standardize: bool = False
    layers: str = "mix"

    @nn.compact
    def __call__(self, x: Float[Array, "B T *LD"]) -> Float[Array, "B T _"]:
        """The frames; padding stays padding only to those who mask it."""
        x = x.astype(jnp.float32)
        if self.standardize:
            shape = x.shape[2:]
            mean = self.variable("standard", "mean", jnp.zeros, shape).value
            deviation = self.variable("standard", "deviation", jnp.ones, shape).value
            x = jnp.clip((x - mean) / deviation, -5.0, 5.0)
        if x.ndim == 3:
            return x
        if self.layers == "beside":
            return x.reshape(*x.shape[:2], -1)
        score_L = self.param(MIX, nn.initializers.zeros, x.shape[2:3])
        return jnp.einsum("btld,l->btd", x, nn.softmax(score_L))


class StreamEncoder(nn.Module):
    """Projection to H and LayerNorm, for the bi-GRU to read.

    Attributes:
      hidden: H.
      dtype: Precision of the products.
    """

    hidden: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> recurrence.Stream:
        """What `recurrence.bidirectional` takes of the stream."""
        h = layers.Linear(self.hidden, self.dtype, name="projection")(x)
        h = layers.norm(name="norm")(h)
        return recurrence.BiGru(self.hidden, self.dtype, name="gru").inputs(h, mask)


def refuse_other_streams(expected: tuple[str, ...], given: dict[str, Stream]) -> None:
    """Raises ValueError unless the batch holds the streams that the model reads."""
    if set(given) != set(expected):
        raise ValueError(f"the model reads {sorted(expected)}, got {sorted(given)}")


class Head(nn.Module):
    """Linear, ReLU, dropout, linear."""

    hidden: int
    outputs: int
    dropout: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B F"], *, train: bool) -> Float[Array, "B _"]:
        """The logits."""
        h = nn.relu(layers.Linear(self.hidden, self.dtype, name="hidden")(x))
        h = dropout.Dropout(self.dropout)(h, train=train)
        return layers.Linear(self.outputs, name="logits")(h)


class FusionClassifier(nn.Module):
    """Streams attend to each other, are pooled, joined and classified (section 3).

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
      heads: Attention heads by query stream; 1 where not named.
      dropout: Rate, on attention probabilities and in the head.
      standardize: Streams whose columns are scaled first.
      layers: What becomes of several layers, as `StreamInput` has it.
      neutral_head: Add a second head that tells neutral from expressive.
      extra: Further heads, by name and number of outputs.
      mask_padding: False reads padding like real frames, as the authors' code does.
      dtype: Precision of the products, "float32" or "bfloat16". Parameters,
        normalisation, softmax, recurrent state and logits are float32.
    """

    streams: tuple[str, ...]
    classes: int
    hidden: int = 512
    heads: tuple[tuple[str, int], ...] = ()
    dropout: float = 0.5
    standardize: tuple[str, ...] = ()
    layers: str = "mix"
    neutral_head: bool = False
    extra: tuple[tuple[str, int], ...] = ()
    mask_padding: bool = True
    dtype: str = "float32"

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
          {"emotion": logits [B, C]}, with the neutral head {"neutral": [B, 1]}, and
          what each of the further heads gives.
        """
        refuse_other_streams(self.streams, streams)
        mask, read = {}, {}
        for s in self.streams:
            real = streams[s].mask
            mask[s] = real if self.mask_padding else jnp.ones_like(real)
            frames = StreamInput(s in self.standardize, self.layers, name=f"{s}_input")
            read[s] = frames(streams[s].x)
        encoded = self._encode(read, mask)
        pooled = [self._pool(s, encoded, mask, train) for s in self.streams]
        norm = layers.norm(name="norm")
        joint = on_joint(norm(jnp.concatenate(pooled, axis=-1)))
        outputs = {"emotion": self.classes}
        if self.neutral_head:
            outputs["neutral"] = 1
        outputs |= dict(self.extra)
        return {
            name: Head(self.hidden, n, self.dropout, self.dtype, name=name)(
                joint, train=train
            )
            for name, n in outputs.items()
        }

    def _encode(
        self, read: dict[str, Array], mask: dict[str, Array]
    ) -> dict[str, Array]:
        """The states of all streams, [B, T, 2 H]."""
        inputs = [
            StreamEncoder(self.hidden, self.dtype, name=f"{s}_encoder")(x, mask[s])
            for s, x in read.items()
        ]
        states = recurrence.bidirectional(self.dtype, inputs)
        return dict(zip(read, states, strict=True))

    def _pool(
        self, s: str, encoded: dict[str, Array], mask: dict[str, Array], train: bool
    ) -> Array:
        """One vector of stream `s` and of what it gathers from the others, [B, 2 H]."""
        attended = None
        if others := [o for o in self.streams if o != s]:
            attended = attention.CrossAttention(
                dict(self.heads).get(s, 1),
                self.dropout,
                self.dtype,
                name=f"{s}_attention",
            )(encoded[s], [(encoded[o], mask[o]) for o in others], train=train)
        pool = attention.AttentionPool(name=f"{s}_pool")
        return pool(encoded[s], mask[s], attended)
