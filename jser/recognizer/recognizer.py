"""Recognizer: from a sound to its emotion. docs/recognize.md."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from jser import audio
from jser.recognizer import (
    bundle,
    judging,
    live,
    models,
    profiles,
    reading,
    sound_notes,
    timeline,
    transcribing,
)
from jser.recognizer.bundle import Bundle
from jser.recognizer.frames import FrameMaker, Weights
from jser.recognizer.network import Network, scaled_streams
from jser.recognizer.profiles import Profile
from jser.recognizer.reading import Sound
from jser.recognizer.recognition import Recognition, Segment
from jser.training import compilation

COVERAGE = 0.9


class Recognizer:
    """A model in use.

    Attributes:
      name: Of the model.
      labels: The emotions it knows.
      card: The model card, Markdown with a YAML head.
      about: What the model is made of, by its bundle.
      coverages: What `coverage` may be.
      digest: Names all numbers that decide an answer.
      reads_text: Whether it wants to know what was said.
      profiles: Statistics of rooms and persons, by name (`adapt`).
    """

    def __init__(
        self,
        model: Bundle,
        *,
        weights: Weights | None = None,
        transcriber: str | None = None,
    ):
        """Opens a bundle; `load` finds one.

        Args:
          model: The bundle.
          weights: Checkpoints by front end, as {"whisper_base": folder}, where they are
            not to come from the hub.
          transcriber: A Whisper checkpoint, which says what was said where a model
            reads text and no transcript is given; None to refuse that.

        Raises:
          FileNotFoundError: if weights are not here and cannot be fetched.
          ValueError: if they are not those that the model was trained with.
        """
        compilation.enable_cache()
        self.name, self.labels, self.card = model.name, model.labels, model.card
        self.about, self.digest = model.about, model.digest
        self.coverages = tuple(map(float, model.calibration.candidates))
        self.profiles: dict[str, Profile] = {}
        self._bundle = model
        self._frames = FrameMaker(model.front_ends, weights or {})
        self.reads_text = self._frames.reads_text
        self._network = Network(model, weights)
        self._texts = transcribing.Transcripts(transcriber, self.reads_text)

    @classmethod
    def load(
        cls,
        model: os.PathLike | str = models.DEFAULT,
        *,
        revision: str | None = None,
        weights: Weights | None = None,
        transcriber: str | None = None,
    ) -> "Recognizer":
        """Loads a model.

        Args:
          model: A folder that `jser bundle` wrote, the name of a model that comes along
            (`models.NAMES`), or `<owner>/<name>` of the Hugging Face hub.
          revision: Of the hub: a branch, a tag or a commit.
          weights: As for the class.
          transcriber: As for the class.

        Raises:
          FileNotFoundError: if there is no such model, or its encoder is not here.
          ValueError: if it is damaged, of a newer version or not to be trusted.
        """
        found = bundle.load(models.find(model, revision))
        return cls(found, weights=weights, transcriber=transcriber)

    def __call__(
        self,
        sound: Sound,
        *,
        transcript: str | None = None,
        top_k: int | None = None,
        coverage: float = COVERAGE,
        profile: str | None = None,
    ) -> Recognition:
        """The emotion of one sound.

        Args:
          sound: A file, its bytes, samples [n] or [n, channels] with their rate in Hz,
            or an `audio.Stream`.
          transcript: What was said, for models that read text.
          top_k: Only so many of the likeliest emotions in `scores`; None for all.
          coverage: How often the true emotion is to be among `candidates`.
          profile: Name of statistics that `adapt` or `enrol` made.

        Raises:
          AudioError: if the sound cannot be used, with the reason.
          ValueError: if a transcript lacks, or there is no such profile or coverage.
        """
        given = reading.read(sound)
        transcripts = [transcript]
        return self._recognized(
            [given], transcripts, top_k=top_k, coverage=coverage, profile=profile
        )[0]

    def many(
        self,
        sounds: Sequence[Sound] | pathlib.Path,
        *,
        transcripts: Sequence[str | None] | None = None,
        top_k: int | None = None,
        coverage: float = COVERAGE,
        profile: str | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> Iterator[Recognition | audio.AudioError]:
        """The emotions of many sounds, in order; of one that cannot be used, why not.

        What is said of a sound depends neither on the others nor on their order.

        Args:
          sounds: As `__call__` takes them; or a folder, for all sound files below it.
          transcripts: Of the same sounds.
          top_k: As `__call__`.
          coverage: As `__call__`.
          profile: As `__call__`.
          on_done: Told how many more are done, now and then.

        Raises:
          ValueError: as `__call__`, and if the transcripts are not one of each sound.
        """
        sounds = reading.listed(sounds)
        texts = transcribing.of_each(transcripts, len(sounds))
        for start in range(0, len(sounds), reading.AT_ONCE):
            chunk = slice(start, start + reading.AT_ONCE)
            read = [reading.read_or_why(sound) for sound in sounds[chunk]]
            good = [i for i, x in enumerate(read) if isinstance(x, sound_notes.Read)]
            made = iter(
                self._each(
                    [x for x in read if isinstance(x, sound_notes.Read)],
                    [texts[chunk][i] for i in good],
                    **{"top_k": top_k, "coverage": coverage, "profile": profile},
                )
            )
            for x in read:
                yield x if isinstance(x, audio.AudioError) else next(made)
            if on_done:
                on_done(len(read))

    def _each(
        self,
        sounds: Sequence[sound_notes.Read],
        transcripts: Sequence[str | None],
        **how: Any,
    ) -> list[Recognition] | list[Recognition | audio.AudioError]:
        """What is said of sounds; one that no frames can be made of ends no other."""
        try:
            return self._recognized(sounds, transcripts, **how)
        except audio.AudioError as e:
            if len(sounds) == 1:
                return [e]
        each = zip(sounds, transcripts, strict=True)
        return [self._each([x], [text], **how)[0] for x, text in each]

    def probabilities(
        self,
        samples: Sequence[np.ndarray],
        *,
        transcripts: Sequence[str | None] | None = None,
        profile: str | None = None,
    ) -> np.ndarray:
        """Calibrated probabilities [N, C] of sounds at 16 kHz, 25 ms or longer.

        Raises:
          ValueError: if a transcript lacks, or there is no such profile.
        """
        rows = self._rows(samples, transcripts=transcripts, profile=profile)
        return rows[:, : len(self.labels)]

    def _rows(
        self,
        samples: Sequence[np.ndarray],
        *,
        transcripts: Sequence[str | None] | None = None,
        profile: str | None = None,
    ) -> np.ndarray:
        """`probabilities`, with attributes beside where the model predicts them."""
        made = self._frames(samples, self._texts(samples, transcripts))
        return self._network(made, self._profile(profile))[0]

    def timeline(
        self,
        sound: Sound,
        *,
        window_s: float = 4.0,
        hop_s: float = 1.0,
        segments: Sequence[tuple[float, float, str]] | str | None = None,
        profile: str | None = None,
    ) -> list[Segment]:
        """What is felt when, in a recording of any length.

        Args:
          sound: As `__call__` takes it. A file is never in memory whole. What is to be
            said of one, such as that it is clipped, are the `notes` of its Stream.
          window_s: Length of the windows (`timeline.of_windows`),
          hop_s: and from one to the next.
          segments: In place of windows, "pauses" for a segment for each stretch of
            speech between them (`timeline.of_pauses`); or start and end in seconds and
            speaker of such as a diariser found (`timeline.of_segments`).
          profile: As `__call__`.

        Raises:
          AudioError: if the sound cannot be used.
          ValueError: if the model reads text and nobody transcribes it, or the lengths
            or segments cannot be.
        """
        if isinstance(segments, str) and segments != "pauses":
            raise ValueError(
                f"segments {segments!r}: give 'pauses', or a list of them."
            )
        model = functools.partial(self._rows, profile=profile), self.labels
        sure = self._bundle.calibration.unknown_below
        with reading.opened(sound) as blocks:
            if segments == "pauses":
                return timeline.of_pauses(blocks, *model, threshold=sure)
            if segments is not None:
                return timeline.of_segments(blocks, *model, segments, threshold=sure)
            return timeline.of_windows(
                blocks, *model, window_s=window_s, hop_s=hop_s, threshold=sure
            )

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        *,
        sample_rate_hz: int = audio.SAMPLE_RATE_HZ,
        window_s: float = 4.0,
        hop_s: float = 1.0,
        profile: str | None = None,
    ) -> Iterator[Segment]:
        """A segment for each hop of a sound, as it is being made (`live.stream`)."""
        return live.stream(
            chunks,
            functools.partial(self._rows, profile=profile),
            self.labels,
            sample_rate_hz=sample_rate_hz,
            window_s=window_s,
            hop_s=hop_s,
            threshold=self._bundle.calibration.unknown_below,
        )

    def adapt(self, sounds: Sequence[Sound] | pathlib.Path, name: str) -> Profile:
        """Learns the statistics of a room, a microphone or a language, without labels.

        Give recordings as they will come, in all moods: what they have in common is
        what will be scaled away. While they are few, the profile stays near the
        training set's statistics (`profiles.SHRINKAGE`).

        Args:
          sounds: As `many` takes them.
          name: What `profile=` is to call it.

        Raises:
          ValueError: if the model scales none of its streams, or none of the sounds can
            be used; those that cannot are left out, with a warning.
        """
        self.profiles[name] = Profile.of(name, self.digest, self._heard(sounds, name))
        return self.profiles[name]

    def enrol(self, name: str, sounds: Sequence[Sound] | pathlib.Path) -> Profile:
        """Learns a person's statistics, as `adapt` does a room's.

        It helps where the recordings hold all emotions in like shares, and does great
        harm where they do not: of someone who is only ever angry, anger is scaled away.
        So it says when they are few, or sound alike to the model; the profile keeps
        that as its `caution`, and every answer by it repeats it.

        Args:
          name: What `profile=` is to call it.
          sounds: As `many` takes them.

        Raises:
          ValueError: if the model scales none of its streams, or none of the sounds can
            be used; those that cannot are left out, with a warning.
        """
        frames = self._heard(sounds, name)
        alone = self._network(frames, None)[0][:, : len(self.labels)]
        label, count = np.unique(alone.argmax(axis=1), return_counts=True)
        most = self.labels[label[count.argmax()]], count.max() / count.sum()
        learned = Profile.of(name, self.digest, frames)
        caution = profiles.person_caution(name, learned.recordings, *most)
        if caution:
            logging.warning("%s", caution)
        self.profiles[name] = dataclasses.replace(learned, caution=caution)
        return self.profiles[name]

    def _heard(
        self, sounds: Sequence[Sound] | pathlib.Path, name: str
    ) -> dict[str, list[np.ndarray]]:
        """Frames of the recordings that a profile is learned from."""
        if not any(scaled_streams(m) for m in self._bundle.members):
            raise ValueError(
                f"{self.name} scales no stream, so that no statistics can be exchanged."
            )
        sounds = reading.listed(sounds)
        if not sounds:
            raise ValueError(f"profile {name!r}: no sounds to learn from.")
        frames: dict[str, list[np.ndarray]] = {n: [] for n in self._frames.names}
        for read in reading.usable(sounds, f"profile {name!r}"):
            for n, x in self._frames(read, self._texts(read)).items():
                frames[n] += x
        if not all(frames.values()):
            raise ValueError(f"profile {name!r}: none of the sounds can be used.")
        return frames

    def use(self, profile: Profile) -> None:
        """Takes a profile that was saved.

        Raises:
          ValueError: if it was made for another model.
        """
        if profile.model != self.digest:
            raise ValueError(
                f"profile {profile.name!r} is of model {profile.model}, and {self.name}"
                f" is {self.digest}. Make it again with jser recognize --adapt."
            )
        self.profiles[profile.name] = profile

    def cautions(self, profile: str | None = None) -> tuple[str, ...]:
        """What every answer by the model, or by a profile, repeats.

        Raises:
          ValueError: if there is no such profile.
        """
        return judging.cautions(self._bundle, self._profile(profile))

    def _profile(self, name: str | None) -> Profile | None:
        if name is None:
            return None
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none yet"
            raise ValueError(
                f"no profile {name!r}; there are {known}. adapt makes one."
            )
        return self.profiles[name]

    def _recognized(
        self,
        sounds: Sequence[sound_notes.Read],
        transcripts: Sequence[str | None],
        *,
        top_k: int | None,
        coverage: float,
        profile: str | None,
    ) -> list[Recognition]:
        """What is said of sounds that could be read."""
        by, samples = self._profile(profile), [x.samples for x in sounds]
        judge = judging.Judge(self._bundle, coverage, top_k, by)
        if not sounds:
            return []
        transcripts = self._texts(samples, transcripts)
        made = self._frames(samples, transcripts)
        rows, vectors = self._network(made, by)
        far, heard = self._network.is_far(made, by), self._network.heard_s(made)
        sounds = [x.heard(s) for x, s in zip(sounds, heard, strict=True)]
        each = zip(sounds, rows, vectors, transcripts, far, strict=True)
        return [
            judge(x, row, vector, text, far=bool(f)) for x, row, vector, text, f in each
        ]
