"""A linear probe: what can be read off pooled frames by one linear layer."""

from collections.abc import Callable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jser.models import dropout, fusion
from jser.shapes import Array, Stream


class LinearProbe(nn.Module):
    """Streams are averaged over time, joined and classified by one linear layer.

    Mean, dropout, linear. Of utterances that are one vector, the mean is the vector.
    Padding changes no logit.

    The layer starts at zero (Dosovitskiy et al., 2021, for a new head on a pretrained
    encoder). There are often more columns than utterances: what a kernel starts with
    outside their span stays, but for the decay, and disturbs other utterances. Nothing
    is gained by it, as the loss of a linear layer has one minimum.

    Attributes:
      streams: Names of the streams, in order.
      classes: Number of emotions, C.
      dropout: Rate, on the joint vector.
      standardize: Streams whose columns are scaled first.
      layers: What becomes of several layers, as `fusion.StreamInput` has it.
      extra: Further heads, one linear layer each, by name and number of outputs.
    """

    streams: tuple[str, ...]
    classes: int
    dropout: float = 0.0
    standardize: tuple[str, ...] = ()
    layers: str = "mix"
    extra: tuple[tuple[str, int], ...] = ()

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
            scaled, mask = s in self.standardize, streams[s].mask[..., None]
            read = fusion.StreamInput(scaled, self.layers, name=f"{s}_input")
            pooled.append(jnp.mean(read(streams[s].x), axis=1, where=mask))
        joint = on_joint(jnp.concatenate(pooled, axis=-1))
        h = dropout.Dropout(self.dropout)(joint, train=train)
        zeros = nn.initializers.zeros
        dense = lambda n, name: nn.Dense(n, kernel_init=zeros, name=name)(h)
        outputs = {"emotion": dense(self.classes, "logits")}
        return outputs | {name: dense(n, name) for name, n in self.extra}
