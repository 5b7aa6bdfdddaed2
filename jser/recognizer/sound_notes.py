"""Sounds as they are read, with what makes an answer about them worth less."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from jser import audio
from jser.recognizer.recognition import Segment

FAR = (
    "far from what the model was trained on: another language, room, microphone, or no"
    " speech"
)
_SHORT_S = 1.0
_QUIET_DB = 50.0  # Below full scale are the loudest frames of silence, or more.
_OF_FILE = {  # By what `audio.examine` notes.
    "clipped": "clipped: its peaks are cut off",
    "channels cancel": "its channels cancel; the loudest was taken alone",
}
_FRAME = audio.SAMPLE_RATE_HZ // 40  # 25 ms.
_LOUD = 0.98  # Quantile of the frames that stands for speech.


@dataclasses.dataclass(frozen=True)
class Read:
    """A sound that could be read."""

    name: str
    samples: np.ndarray  # At 16 kHz.
    duration_s: float
    notes: tuple[str, ...]
    silent: bool  # Nothing can be said of it.

    def heard(self, until_s: float) -> "Read":
        """The same, of which the model heard so many seconds; infinite for all."""
        if not math.isfinite(until_s):
            return self
        note = f"long: the model hears {until_s:g} s; a timeline hears all of it"
        return dataclasses.replace(self, notes=(*self.notes, note))


def read(name: str, samples: np.ndarray, notes: Sequence[str] = ()) -> Read:
    """Samples at 16 kHz, looked at.

    Args:
      name: Of the file.
      samples: At 16 kHz.
      notes: What `audio.examine` has to say of the file.
    """
    seconds = len(samples) / audio.SAMPLE_RATE_HZ
    whole = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.quantile(np.square(whole, dtype=np.float64).mean(axis=1), _LOUD)
    below_db = -10 * np.log10(max(power, 1e-12))
    silent = bool(below_db > _QUIET_DB)
    found = {
        f"short: {seconds:.2f} s, and emotion takes a second or two": (
            seconds < _SHORT_S
        ),
        f"silence: its loudest part is {below_db:.0f} dB below full scale, no speech": (
            silent
        ),
    }
    held = [note for note, holds in found.items() if holds]
    return Read(name, samples, seconds, (*held, *_of_file(notes)), silent)


def of_timeline(notes: Sequence[str], segments: Sequence[Segment]) -> list[str]:
    """What is to be said of a timeline.

    Args:
      notes: What `audio.examine` has to say of the recording.
      segments: What was found in it.
    """
    return [*_of_file(notes), *([] if segments else ["nothing but silence"])]


def _of_file(notes: Sequence[str]) -> list[str]:
    return [told for note, told in _OF_FILE.items() if note in notes]
