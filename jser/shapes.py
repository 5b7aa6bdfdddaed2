"""Array types and the legend of axis letters.

One letter means one thing in the whole package:

  B  utterances in a batch        D  width of a stream (1280 for Whisper)
  T  frames of a stream, padded   H  width of one GRU direction
  S  frames of the other stream   G  3 * H, the GRU gates in the order r, z, n
  M  ensemble members             C  emotion classes, in the order of the label set
  N  utterances of a split        K  streams
  L  layers of an encoder         A  attention heads, each of width E
  F  outputs of a layer

Signatures say types and shapes with jaxtyping, and the tests enforce all of them, but
for the fields of pytrees (`no_type_check`), which JAX rebuilds around None and sizes,
too. Inside a function an array carries its axes as a suffix, `speech_BTD`.
"""

from typing import no_type_check

from flax import struct
import jax
import numpy as np

Array = jax.Array | np.ndarray


@no_type_check
@struct.dataclass
class Stream:
    """One stream of a batch: padded frames, and which of them are real.

    Every row has at least one real frame, and real frames come first.
    """

    x: Array  # Float, B T D, or B T L D; float16 on the way to the device.
    mask: Array  # Bool, B T; False on padding.


@no_type_check
@struct.dataclass
class Batch:
    """Utterances that are computed together; `weight` is 0 on rows that only fill."""

    streams: dict[str, Stream]
    target: Array  # Float, B K; emotions come first: `jser.data.targets` has the rest.
    weight: Array  # Float, B.
