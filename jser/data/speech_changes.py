"""What becomes of a batch's speech as it is read in training."""

from collections.abc import Mapping

import numpy as np
from scipy import signal

from jser import audio
from jser.config import Augment
from jser.config_rules import SOUND, SOUND_SHARES
from jser.data import augment, sound
from jser.data.split import Split

# Streams of random numbers; 0 and 2 are the batches' own, 4 is the raters'.
_STRETCH, _SOUND, _SECOND = 1, 3, 5


class SpeechChanges:
    """Speech changes: stretching of frames and of sound, cropping and noise of sound.

    A pure function of the arguments, the batch's number and a row's place in it: other
    rows, and who reads them, change nothing.
    """

    def __init__(self, c: Augment, split: Split, seed: int):
        """Of the utterances of `split`.

        Args:
          c: What is done.
          split: Whose speech it is.
          seed: Of the run.
        """
        self._c, self._seed, self._split = c, seed, split
        specs = {s: f.spec for s, f in split.streams.items()}
        speech = [s for s, spec in specs.items() if spec["kind"] == "speech"]
        self._sound = [s for s in speech if specs[s]["name"] == SOUND]
        self._frames = [s for s in speech if s not in self._sound]
        self._crop = round(c.crop_s * audio.SAMPLE_RATE_HZ) or None
        self._is_disturbed = any(getattr(c, share) for share in SOUND_SHARES)

    def lengths(
        self, index: int, length: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The numbers of frames that a batch has after them.

        Args:
          index: Of the batch.
          length: Before, by stream, of the whole batch.
        """
        changed = dict(length)
        if self._crop:
            changed |= {s: np.minimum(length[s], self._crop) for s in self._sound}
        if self._c.speed:
            factors = self._factors(index, len(next(iter(length.values()))))
            changed |= {
                s: np.asarray(augment.resampled_length(changed[s], factors))
                for s in self._frames
            }
            for s in self._sound:
                changed[s] = np.asarray(_resampled(changed[s], factors))
        return changed

    def apply(
        self,
        index: int,
        frames: Mapping[str, list[np.ndarray]],
        places: np.ndarray,
        rows: int,
    ) -> Mapping[str, list[np.ndarray]]:
        """The frames after them.

        Args:
          index: Of the batch.
          frames: As they are stored, of these places in it.
          places: In the batch.
          rows: Utterances of the whole batch.
        """
        changed, factors = dict(frames), np.ones(len(places))
        if self._c.speed:
            factors = self._factors(index, rows)[places]
            for s in self._frames:
                pairs = zip(frames[s], factors, strict=True)
                changed[s] = [augment.resample(x, f) for x, f in pairs]
        if self._crop or self._c.speed or self._is_disturbed:
            second = self.second(index, rows)
            for s in self._sound:
                changed[s] = [
                    self._of_sound(
                        *(s, x, (index, int(place)), factor), second=int(second[place])
                    )
                    for x, place, factor in zip(frames[s], places, factors, strict=True)
                ]
        return changed

    def second(self, index: int, rows: int) -> np.ndarray:
        """Int [rows]: by place in a batch, the utterance that is heard besides, or -1.

        Args:
          index: Of the batch.
          rows: Utterances of the whole batch.
        """
        if not self._c.second_clip:
            return np.full(rows, -1)
        rng = np.random.default_rng((self._seed, _SECOND, int(index)))
        is_heard = rng.random(rows) < self._c.second_clip
        return np.where(is_heard, rng.integers(len(self._split), size=rows), -1)

    def _factors(self, index: int, rows: int) -> np.ndarray:
        """By which a batch is stretched."""
        rng = np.random.default_rng((self._seed, _STRETCH, int(index)))
        return rng.uniform(1 - self._c.speed, 1 + self._c.speed, rows)

    def _of_sound(
        self,
        stream: str,
        x: np.ndarray,
        at: tuple[int, int],
        factor: float,
        *,
        second: int,
    ) -> np.ndarray:
        """A sound [n, 1] as it is trained on, at a batch's number and a place in it."""
        rng = np.random.default_rng((self._seed, _SOUND, *at))
        start = rng.integers(max(len(x) - (self._crop or len(x)), 0) + 1)
        row = int(rng.integers(len(self._split)))
        samples = x[start:, 0][: self._crop].astype(np.float32)
        if self._c.speed:
            count = int(_resampled(len(samples), factor))
            samples = np.asarray(signal.resample(samples, count))
        if second >= 0:
            own = np.random.default_rng((self._seed, _SECOND, *at))
            samples = sound.together(samples, self._samples(stream, second), own)
        if self._is_disturbed:
            other = lambda: self._samples(stream, row)
            samples = sound.disturbed(samples, other, self._c, rng)
        return samples[:, None].astype(np.float16)

    def _samples(self, stream: str, row: int) -> np.ndarray:
        """The whole sound [n] of an utterance of the split."""
        record = self._split.record[stream][[row]]
        return self._split.streams[stream].read(record)[0][:, 0].astype(np.float32)


def _resampled(samples, factor) -> np.ndarray | np.integer:
    """Samples at another speed, numbers or arrays; enough for a frame, as before."""
    least = np.minimum(samples, audio.MIN_SAMPLES)
    return np.maximum(augment.resampled_length(samples, factor), least)
