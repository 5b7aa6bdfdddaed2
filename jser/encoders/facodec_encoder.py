"""FACodec's convolutional encoder, in which an utterance does not notice its padding.

Before every convolution, zeros take the place of what comes after an utterance's own
end; before every activation, repetitions of its last step. Its activation is a periodic
Snake at twice the rate, so that it cannot alias. The authors insert zeros, filter,
activate, filter again and drop every second sample. Here both filters are split by the
parity of the samples at the doubled rate, whose two halves are never interleaved: the
same numbers for a quarter of the time.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from jser.shapes import Array

_STRIDES = (2, 4, 5, 5)  # Their product is the hop of the frames.
_TAPS = 12  # Of either filter.
_REACH = 3  # Samples on either side that one filter needs.


class ConvEncoder(nn.Module):
    """From waveforms to 256 channels at 80 Hz."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B n 1"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B T D"]:
        """A frame per 200 samples; those beyond `lengths[i] / 200` mean nothing.

        Args:
          x: Waveforms at 16 kHz; their length is a multiple of 200.
          lengths: Samples of each, multiples of 200.
        """
        x = _Conv(32, 7, name="block.0")(x, lengths)
        for i, stride in enumerate(_STRIDES, 1):
            name = f"block.{i}.block"
            for k, dilation in enumerate((1, 3, 9)):
                x = _Residual(dilation, name=f"{name}.{k}")(x, lengths)
            x = SnakeBeta(name=f"{name}.3")(x, lengths)
            x = _Conv(2 * x.shape[-1], 2 * stride, stride, name=f"{name}.4")(x, lengths)
            lengths = lengths // stride
        x = SnakeBeta(name="block.5")(x, lengths)
        return _Conv(256, 3, name="block.6")(x, lengths)


class _Residual(nn.Module):
    dilation: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B t c"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B t c"]:
        c = x.shape[-1]
        h = SnakeBeta(name="block.0")(x, lengths)
        h = _Conv(c, 7, dilation=self.dilation, name="block.1")(h, lengths)
        h = SnakeBeta(name="block.2")(h, lengths)
        return x + _Conv(c, 1, name="block.3")(h, lengths)


class _Conv(nn.Module):
    """A convolution that sees zeros beyond every row's own length.

    The output has 1 / stride as many steps; `lengths` are multiples of the stride.
    """

    features: int
    width: int
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "B t c"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B s d"]:
        span = self.dilation * (self.width - 1) + 1
        conv = nn.Conv(
            self.features,
            (self.width,),
            self.stride,
            padding=(span + 1 - self.stride) // 2,
            kernel_dilation=self.dilation,
        )
        # Its parameters are the module's own, as in the published files.
        nn.share_scope(self, conv)
        return conv(zero_fill(x, lengths))


def is_real(x_BTC, lengths_B) -> Array:
    """[B, t]: which steps are an utterance's own."""
    return jnp.arange(x_BTC.shape[1]) < lengths_B[:, None]


def zero_fill(x_BTC, lengths_B) -> Array:
    """[B, t, c]: x with zeros from `lengths` on."""
    return jnp.where(is_real(x_BTC, lengths_B)[..., None], x_BTC, 0)


class SnakeBeta(nn.Module):
    """x + sin(x * e^alpha)^2 / e^beta at twice the rate, alpha and beta per channel."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B t c"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B t c"]:
        """The activation of the first `lengths` steps of every row.

        What comes after them has no influence on them: the last one is repeated in its
        place, as the authors do at the end of an array. There, the result is
        meaningless.
        """
        zeros, channels = nn.initializers.zeros, x.shape[-1:]
        alpha = self.param("act.alpha", zeros, channels)
        beta = self.param("act.beta", zeros, channels)
        up = 2 * self.param("upsample.filter", zeros, (1, 1, _TAPS))[0, 0]
        down = self.param("downsample.lowpass.filter", zeros, (1, 1, _TAPS))[0, 0]
        gain = 1 / (jnp.exp(beta) + 1e-9)

        def snake(x_BTC):
            return x_BTC + gain * _squared_sine(x_BTC * jnp.exp(alpha))

        t = x.shape[1]
        last_B1 = lengths[:, None] - 1
        step = jnp.clip(jnp.arange(-2 * _REACH, t + 2 * _REACH), 0, last_B1)
        x = jnp.take_along_axis(x, step[..., None], axis=1)
        # The doubled rate, from three steps before the first to three after the last.
        even = snake(_filter(x, up[::-2], 0, t + 2 * _REACH))
        odd = snake(_filter(x, up[-2::-2], 1, t + 2 * _REACH))
        first = even[:, _REACH : _REACH + 1]
        last = jnp.take_along_axis(odd, last_B1[..., None] + _REACH, axis=1)
        even, odd = (_replace_ends(h, first, last, lengths) for h in (even, odd))
        return _filter(even, down[1::2], 1, t) + _filter(odd, down[::2], 0, t)


def _replace_ends(x_BTC, first_B1C, last_B1C, lengths):
    """Steps from -3 on, with other values before 0 and from `lengths` on."""
    step = jnp.arange(x_BTC.shape[1])[:, None] - _REACH
    inside = jnp.where(step < lengths[:, None, None], x_BTC, last_B1C)
    return jnp.where(step < 0, first_B1C, inside)


def _filter(x_BTC, taps, start: int, steps: int):
    """[B, steps, c]: y[t] = sum over i of taps[i] * x[t + start + i], of six taps.

    A sum of slices is one loop over memory for XLA; a depthwise convolution is not.
    """
    y_BTC = jnp.zeros(())
    for i in range(_TAPS // 2):
        y_BTC += taps[i] * x_BTC[:, start + i : start + i + steps]
    return y_BTC


def _squared_sine(x):
    """sin(x)^2 to 1e-7, for |x| up to thousands.

    XLA's own sine takes most of the encoder's time on a CPU. The square has period pi,
    so the argument is reduced to [-pi / 2, pi / 2] in two parts, of which the first
    multiplies exactly; there the odd Taylor polynomial is enough.
    """
    turns = jnp.round(x / np.pi)
    r = (x - turns * 3.140625) - turns * (np.pi - 3.140625)
    q = r * r
    series = 1.0
    for n in (10, 8, 6, 4, 2):
        series = 1 - q / (n * (n + 1)) * series
    return q * series**2
