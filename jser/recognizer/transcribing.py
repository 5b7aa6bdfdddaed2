"""What was said, for models that read text."""

from collections.abc import Sequence

import numpy as np


def of_each(transcripts: Sequence[str | None] | None, sounds: int) -> list[str | None]:
    """A transcript of each of so many sounds; None where none is given.

    Raises:
      ValueError: if they are not as many.
    """
    texts = [*([None] * sounds if transcripts is None else transcripts)]
    if len(texts) != sounds:
        raise ValueError(
            f"transcripts: {len(texts)}, and {sounds} sounds; give one of each, None"
            " where nobody knows."
        )
    return texts


class Transcripts:
    """Transcripts that are given and, where they lack, those that Whisper hears."""

    def __init__(self, checkpoint: str | None, needed: bool):
        """Reads the checkpoint.

        Args:
          checkpoint: A Whisper's folder, or its id on the hub; None to hear nothing.
          needed: Whether the model reads text.

        Raises:
          FileNotFoundError: if it is not here and cannot be fetched.
        """
        self._whisper = None
        if checkpoint and needed:
            from jser.encoders import transcriber

            self._whisper = transcriber.Transcriber(checkpoint)

    def __call__(
        self, samples: Sequence[np.ndarray], given: Sequence[str | None] | None = None
    ) -> list[str | None]:
        """The transcripts of sounds at 16 kHz; None where nobody knows."""
        texts = of_each(given, len(samples))
        lacking = [i for i, text in enumerate(texts) if text is None]
        if self._whisper and lacking:
            from jser.encoders import transcriber

            whisper = self._whisper
            sounds = (samples[i] for i in lacking)
            cut = (
                transcriber.windows(x, whisper.bands, whisper.context) for x in sounds
            )
            for i, made in zip(lacking, whisper.transcribe(cut), strict=True):
                texts[i] = made.text
        return texts
