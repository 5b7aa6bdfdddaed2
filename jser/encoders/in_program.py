"""From padded sound to an encoder's states, within a program: what training needs.

As the processors and the batching of extraction have it, but on the device: there an
encoder can be differentiated, and its input may differ from one epoch to the next. An
utterance's states depend neither on its padding nor on its batch mates.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jser import audio
from jser.encoders import wav2vec, whisper
from jser.shapes import Array

Apply = Callable[..., Any]  # The module's, of its arguments alone.


@dataclasses.dataclass(frozen=True)
class SoundEncoder:
    """An encoder of sound as a part of a program; hashable, without its weights.

    Attributes:
      module: `wav2vec.Wav2Vec` or `whisper.WhisperEncoder`.
      levelled: Whether a sound comes scaled already, so that nothing brings it to the
        level that the encoder knows.
      pooled: Whether an utterance is one frame: its frames' mean and deviation.
    """

    module: nn.Module
    levelled: bool = False
    pooled: bool = False

    def __call__(
        self, apply: Apply, sound: Float[Array, "B n"], real: Bool[Array, "B n"]
    ) -> tuple[Float[Array, "B T *L D"], Bool[Array, "B T"]]:
        """Frames of a batch, [B, T, D] or of several layers [B, T, L, D], and a mask.

        Args:
          apply: `module.apply` with variables, adapted or not.
          sound: At 16 kHz.
          real: Which samples are; they come first.
        """
        sound = jnp.where(real, sound, 0).astype(jnp.float32)
        read = _mel if isinstance(self.module, whisper.WhisperEncoder) else _waveform
        states, mask = read(self, apply, sound, real.sum(axis=1))
        frames = jnp.moveaxis(states, 0, 2) if states.ndim == 4 else states
        return _pooled(frames, mask) if self.pooled else (frames, mask)


def _pooled(frames: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over time side by side, as one frame."""
    real = mask.reshape(*mask.shape, *[1] * (frames.ndim - 2))
    mean = frames.mean(axis=1, keepdims=True, where=real)
    square = jnp.square(frames - mean).mean(axis=1, keepdims=True, where=real)
    # A deviation of 0 has no gradient.
    deviation = jnp.sqrt(jnp.maximum(square, 1e-12))
    return jnp.concatenate([mean, deviation], axis=-1), jnp.ones_like(mask[:, :1])


def _waveform(of: SoundEncoder, apply: Apply, sound: jax.Array, length: jax.Array):
    c: wav2vec.Config = of.module.config  # pyright: ignore[reportAttributeAccessIssue]
    if c.normalise and not of.levelled:
        sound = _normalised(sound, length)
    return apply(sound, length)


def _normalised(sound: jax.Array, length: jax.Array) -> jax.Array:
    """`wav2vec.normalise` of each row."""
    real = jnp.arange(sound.shape[1]) < length[:, None]
    mean = sound.mean(axis=1, keepdims=True, where=real)
    var = jnp.square(sound - mean).mean(axis=1, keepdims=True, where=real)
    return jnp.where(real, (sound - mean) / jnp.sqrt(var + 1e-7), 0)


def _mel(of: SoundEncoder, apply: Apply, sound: jax.Array, length: jax.Array):
    module: Any = of.module
    sound = sound[:, : whisper.WINDOW_SAMPLES]  # What is padded further is silence.
    second, n = audio.SAMPLE_RATE_HZ, sound.shape[1]
    padded = -(-n // second) * second if module.short else whisper.WINDOW_SAMPLES
    mel = whisper.log_mel_of_batch(
        jnp.pad(sound, ((0, 0), (0, padded - n))), module.config.bands
    )
    frames = whisper.frames(padded)
    # Its own seconds, as when it is alone.
    own = -(-length // second) * whisper.frames(second)
    states = apply(mel, own) if module.short else apply(mel)
    return states, jnp.arange(frames) < whisper.frames(length)[:, None]
