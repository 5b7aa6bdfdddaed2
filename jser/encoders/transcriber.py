"""A Whisper checkpoint that encodes and transcribes, by one pass of its encoder.

transcriber = Transcriber("openai/whisper-large-v3")
frames, transcripts = transcriber.encode_and_transcribe([samples])
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
import pathlib
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jser import files
from jser.encoders import hub, tokens, weights, whisper, whisper_decoder
from jser.encoders.whisper_prompts import Rules

VERSION = 1  # Raised when other transcripts come out.
DTYPES = ("float32", "bfloat16")
EMPTY, REPETITION, UNFINISHED = NOTES = ("empty", "repetition", "unfinished")
_MOST_COMPRESSIBLE = 2.4  # Whisper's own threshold.


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was said in an utterance."""

    text: str
    language: str  # Code of the language; empty where the checkpoint has no choice.
    note: str  # Empty, or what is suspicious: "empty", "repetition", "unfinished".


@dataclasses.dataclass(frozen=True)
class Window:
    """30 s of an utterance at most."""

    mel: np.ndarray  # Float32, [3000, bands].
    frames: int  # How many of the encoder's frames are about it.


def windows(samples: np.ndarray, bands: int) -> list[Window]:
    """An utterance in windows of 30 s, the last one shorter; nothing is dropped."""
    cuts = range(0, max(len(samples), 1), whisper.WINDOW_SAMPLES)
    parts = (samples[cut : cut + whisper.WINDOW_SAMPLES] for cut in cuts)
    return [Window(whisper.log_mel(p, bands), whisper.frames(len(p))) for p in parts]


def is_repetition(text: str) -> bool:
    """Whether a text says the same over and over, as decoders caught in a loop do.

    By Whisper's own measure: UTF-8 that zlib makes more than 2.4 times smaller. Short
    texts hardly shrink, so that a "no, no, no" is none.
    """
    data = text.encode()
    return len(data) > _MOST_COMPRESSIBLE * len(zlib.compress(data))


class Transcriber:
    """A Whisper checkpoint on the device, which encodes and transcribes.

    Attributes:
      source: Name of the checkpoint and 8 hex digits that name all that decides the
        transcripts: weights, generation_config.json, language, dtype, version.
      bands: Mel bands that the encoder reads.
    """

    def __init__(
        self,
        given: str,
        *,
        language: str | None = None,
        batch_size: int = 16,
        dtype: str = "float32",
    ):
        """Reads a checkpoint.

        Args:
          given: Its folder, or the hub's `owner/model`.
          language: Of all utterances, as "en" or "English"; None: what
            generation_config.json says, else detected in each one's first 30 s.
          batch_size: Windows that are computed together; it changes no transcript.
          dtype: One of `DTYPES`, of matrix products and of the weights in memory.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if it is no Whisper, or does not know the language.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} must be at least 1.")
        if dtype not in DTYPES:
            raise ValueError(f"dtype: {dtype!r} is not one of {', '.join(DTYPES)}.")
        folder = hub.folder(given)
        self._rules = Rules.read(folder)
        code = self._rules.code(language) if language else self._rules.language
        self._language = self._rules.languages.get(code)
        self._codes = {i: code for code, i in self._rules.languages.items()}
        self._tokenizer = tokens.load(folder)
        self._batch_size = batch_size
        encoder, encoder_params = whisper.load(folder, "last", jnp.dtype(dtype))
        decoder, decoder_params = whisper_decoder.load(folder, jnp.dtype(dtype))
        self.bands = encoder.config.bands
        rules_digest = files.file_digest(folder / "generation_config.json")
        made_by = (weights.digest(folder), rules_digest, code, dtype, str(VERSION))
        name = pathlib.Path(given).absolute().name  # Of a hub's id too.
        self.source = f"{name}@{files.digest(*made_by)[:8]}"

        detects = bool(self._rules.languages) and self._language is None
        # An accelerator rounds float32 before it multiplies, unless it is told not to.
        precision = "highest" if dtype == "float32" else None

        @jax.jit
        def encode(encoder_params, decoder_params, mel):
            with jax.default_matmul_precision(precision):
                states = encoder.apply(encoder_params, mel)
                cross: Any = decoder.apply(decoder_params, states, method="cross")
                if not detects:
                    return states, cross, jnp.full(len(mel), self._language or 0)
                languages = whisper_decoder.detect(
                    decoder, self._rules, decoder_params, cross
                )
            return states, cross, languages

        @jax.jit
        def decode(decoder_params, *args):
            with jax.default_matmul_precision(precision):
                return whisper_decoder.greedy(
                    decoder, self._rules, decoder_params, *args
                )

        # Parameters are arguments, so that they are no constants of the program.
        self._encode = functools.partial(encode, encoder_params, decoder_params)
        self._decode = functools.partial(decode, decoder_params)

    def encode_and_transcribe(
        self, samples: Iterable[np.ndarray]
    ) -> tuple[list[np.ndarray], list[Transcript]]:
        """The encoder's frames and the transcripts of utterances, by one encoder pass.

        Args:
          samples: Of each utterance, [n] float32 at 16 kHz, of any length.

        Returns:
          Frames [ceil(n / 320), D] float32, after the final LayerNorm, windows joined;
          and the transcripts.
        """
        cut = (windows(x, self.bands) for x in samples)
        both = [(np.concatenate(f), text) for f, text in self._run(cut, frames=True)]
        return [frames for frames, _ in both], [text for _, text in both]

    def transcribe(self, cut: Iterable[Sequence[Window]]) -> Iterator[Transcript]:
        """The transcripts of utterances cut into `windows`, in their order."""
        return (text for _, text in self._run(cut, frames=False))

    def _run(
        self, cut: Iterable[Sequence[Window]], *, frames: bool
    ) -> Iterator[tuple[list[np.ndarray], Transcript]]:
        """Fills batches with windows; gives out each utterance as its last is done."""
        rows = (
            (utterance, window)
            for parts in cut
            for utterance in [_Utterance(len(parts))]
            for window in parts
        )
        while batch := list(itertools.islice(rows, self._batch_size)):
            self._decode_batch(batch, frames)
            for utterance in dict.fromkeys(utterance for utterance, _ in batch):
                if utterance.left == 0:
                    yield utterance.frames, utterance.transcript(self._codes)

    def _decode_batch(
        self, batch: "list[tuple[_Utterance, Window]]", frames: bool
    ) -> None:
        """Computes a batch of windows and adds them to their utterances."""
        spare = self._batch_size - len(batch)
        mel = np.stack([window.mel for _, window in batch])
        states, cross, detected = self._encode(
            np.pad(mel, ((0, spare), (0, 0), (0, 0)))
        )
        for (utterance, _), language in zip(batch, np.asarray(detected), strict=False):
            if utterance.language is None:  # A first window speaks for those after it.
                utterance.language = int(language)
        languages = [utterance.language or 0 for utterance, _ in batch] + [0] * spare
        prompt = self._rules.prompts(languages)
        real = np.arange(self._batch_size) < len(batch)
        made = np.asarray(self._decode(cross, prompt, real))[:, prompt.shape[1] :]
        if frames:
            states = np.asarray(states)
        for (utterance, window), states_TD, ids in zip(
            batch, states, made, strict=False
        ):
            (ends,) = np.nonzero(ids == self._rules.end)
            length = ends[0] if len(ends) else len(ids)
            text = self._tokenizer.decode(ids[:length], skip_special_tokens=True)
            utterance.texts.append(text.strip())
            utterance.unfinished |= not len(ends)
            utterance.left -= 1
            if frames:
                utterance.frames.append(states_TD[: window.frames].astype(np.float32))


@dataclasses.dataclass(eq=False)
class _Utterance:
    """An utterance while its windows are computed."""

    left: int  # Windows to go.
    language: int | None = None
    unfinished: bool = False
    texts: list[str] = dataclasses.field(default_factory=list)
    frames: list[np.ndarray] = dataclasses.field(default_factory=list)

    def transcript(self, codes: dict[int, str]) -> Transcript:
        """Joins the windows and marks what is suspicious."""
        text = " ".join(filter(None, self.texts))
        marks = {
            EMPTY: not text,
            REPETITION: any(map(is_repetition, self.texts)),
            UNFINISHED: self.unfinished,
        }
        note = next((mark for mark, holds in marks.items() if holds), "")
        return Transcript(text, codes.get(self.language or 0, ""), note)
