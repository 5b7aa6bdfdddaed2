"""A Whisper checkpoint that encodes and transcribes, by one pass of its encoder.

transcriber = Transcriber("openai/whisper-large-v3")
frames, transcripts = transcriber.encode_and_transcribe([samples])
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
import math
import pathlib
import time
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jser import audio, files
from jser.encoders import hub, tokens, weights, whisper, whisper_decoder
from jser.encoders.options import CONTEXTS
from jser.encoders.whisper_prompts import Rules

VERSION = 3  # Raised when other transcripts come out.
DTYPES = ("float32", "bfloat16")
CUTS = FIXED, PAUSES = ("fixed", "pauses")
NOTES = ("no_speech", "empty", "repetition", "unfinished")
NO_SPEECH, EMPTY, REPETITION, UNFINISHED = NOTES
FRAMES_PER_S = 100  # Of a spectrogram.
_STEP_S = 10  # Of a short context; few, as each is compiled.
_LEAST_SILENCE_S = 2
_HOP = whisper.WINDOW_SAMPLES // whisper.frames(whisper.WINDOW_SAMPLES)  # Of frames.
_REACH = 2 * audio.SAMPLE_RATE_HZ // _HOP  # Frames to either side with a pause.
_PAUSE = 10  # Frames, 0.2 s.
# Whisper's own thresholds.
_MOST_COMPRESSIBLE = 2.4
_LEAST_NO_SPEECH = 0.6
_MOST_UNSURE = -1.0
# Ours: on digital silence Whisper base writes "you", and is sure of it.
_SURE_NO_SPEECH = 0.9


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was said in an utterance."""

    text: str
    language: str  # Code of the language; empty where the checkpoint has no choice.
    note: str  # Empty, or what is suspicious: one of `NOTES`.


@dataclasses.dataclass(frozen=True)
class Window:
    """30 s of an utterance at most."""

    mel: np.ndarray  # Float32, [n, bands]: 3000, or fewer of a short context.
    frames: int  # How many of the encoder's frames are about it.


def count(samples: int, cut: str = FIXED) -> int:
    """How many windows so many samples make."""
    longest = whisper.WINDOW_SAMPLES
    if cut == PAUSES and samples > longest:
        longest -= 2 * _REACH * _HOP
    return max(-(-samples // longest), 1)


def edges(samples: np.ndarray, cut: str = FIXED) -> list[int]:
    """Where the windows of a sound begin, and its end.

    Args:
      samples: [n] float32 at 16 kHz.
      cut: "fixed" for every 30 s; "pauses" for where it is quietest within 2 s of the
        edges of windows of equal length, of 26 s at most.
    """
    n, windows = len(samples), count(len(samples), cut)
    if cut == FIXED:
        return [k * whisper.WINDOW_SAMPLES for k in range(windows)] + [n]
    frames = samples[: n // _HOP * _HOP].reshape(-1, _HOP)
    energy = np.square(frames).mean(axis=1)
    energy = np.convolve(energy, np.ones(_PAUSE), "same")
    at = [0]
    for k in range(1, windows):
        first = round(k * n / windows / _HOP) - _REACH + 1
        quietest = np.argmin(energy[first : first + 2 * _REACH - 1])
        at.append((first + int(quietest)) * _HOP)
    return [*at, n]


def spectrogram_frames(
    samples: int, context: str = "full", cut: str = FIXED
) -> list[int]:
    """The lengths that the windows of so many samples are padded to: 100 a second.

    All are 30 s, but for an utterance that has less and a short context: the next 10 s
    that leave it 2 s of silence. Where it had less of that, Whisper would not end, and
    say the same over and over.
    """
    windows = count(samples, cut)
    whole = whisper.WINDOW_SAMPLES // audio.SAMPLE_RATE_HZ
    if context == "short" and windows == 1:
        least = samples / audio.SAMPLE_RATE_HZ + _LEAST_SILENCE_S
        whole = min(math.ceil(least / _STEP_S) * _STEP_S, whole)
    return [whole * FRAMES_PER_S] * windows


def windows(
    samples: np.ndarray, bands: int, context: str = "full", cut: str = FIXED
) -> list[Window]:
    """An utterance in windows of 30 s at most; nothing is dropped."""
    lengths = spectrogram_frames(len(samples), context, cut)
    at = itertools.pairwise(edges(samples, cut))
    parts = (samples[start:stop] for start, stop in at)
    return [
        Window(whisper.log_mel(part, bands)[:n], whisper.frames(len(part)))
        for part, n in zip(parts, lengths, strict=True)
    ]


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
        transcripts: weights, generation_config.json, language, context, dtype, version.
      bands: Mel bands that the encoder reads.
      context: As it was given.
      cut: As it was given.
      heard_s: Seconds of sound computed until now, padding included.
      compiling_s: Seconds that compiling took until now.
    """

    def __init__(
        self,
        given: str,
        *,
        language: str | None = None,
        batch_size: int = 16,
        dtype: str = "float32",
        context: str = "full",
        cut: str = FIXED,
    ):
        """Reads a checkpoint.

        Args:
          given: Its folder, or the hub's `owner/model`.
          language: Of all utterances, as "en" or "English"; None: what
            generation_config.json says, else detected in each one's first 30 s.
          batch_size: Windows that are computed together; it changes no transcript.
          dtype: One of `DTYPES`, of matrix products and of the weights in memory.
          context: One of `CONTEXTS`: "full" for silence up to 30 s, as Whisper was
            trained, or "short" for silence up to 10 or 20 s after less.
          cut: One of `CUTS`: where sounds over 30 s are cut, see `edges`.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if it is no Whisper, or does not know the language.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} must be at least 1.")
        for name, value, known in (
            ("dtype", dtype, DTYPES),
            ("context", context, CONTEXTS),
            ("cut", cut, CUTS),
        ):
            if value not in known:
                raise ValueError(f"{name}: {value!r} is not one of {', '.join(known)}.")
        folder = hub.folder(given)
        self._rules = Rules.read(folder)
        code = self._rules.code(language) if language else self._rules.language
        self._language = self._rules.languages.get(code)
        self._codes = {i: code for code, i in self._rules.languages.items()}
        self._tokenizer = tokens.load(folder)
        self._batch_size = batch_size
        encoder, encoder_params = whisper.load(folder, "last", jnp.dtype(dtype))
        decoder, decoder_params = whisper_decoder.load(folder, jnp.dtype(dtype))
        self.bands, self.context, self.cut = encoder.config.bands, context, cut
        rules_digest = files.file_digest(folder / "generation_config.json")
        made_by = (weights.digest(folder), rules_digest, code, dtype, context, cut)
        name = pathlib.Path(given).absolute().name  # Of a hub's id too.
        self.source = f"{name}@{files.digest(*made_by, str(VERSION))[:8]}"
        self.heard_s = self.compiling_s = 0.0
        # An accelerator rounds float32 before it multiplies, unless it is told not to.
        precision = "highest" if dtype == "float32" else None
        encoder = encoder.clone(short=context == "short")
        encode, decode = self._programs(encoder, decoder, precision)
        # Parameters are arguments, so that they are no constants of the program.
        both = encoder_params, decoder_params
        self._encode = functools.partial(self._run_compiled, encode, both)
        self._decode = functools.partial(self._run_compiled, decode, decoder_params)
        self._compiled: dict[Any, Any] = {}  # By program and shapes.

    def _programs(
        self,
        encoder: whisper.WhisperEncoder,
        decoder: whisper_decoder.WhisperDecoder,
        precision: str | None,
    ) -> tuple[Any, Any]:
        """What is compiled: to encode a batch of spectrograms, and to decode it."""
        detects = bool(self._rules.languages) and self._language is None

        @jax.jit
        def encode(params, mel, real):
            encoder_params, decoder_params = params

            def states_and_cross(mel):
                states = encoder.apply(encoder_params, mel)
                return states, decoder.apply(decoder_params, states, method="cross")

            with jax.default_matmul_precision(precision):
                states, cross = _by_rows(states_and_cross, mel, real)
                if not detects:
                    return states, cross, jnp.full(len(mel), self._language or 0)
                languages = whisper_decoder.detect(
                    decoder, self._rules, decoder_params, cross
                )
            return states, cross, languages

        @jax.jit
        def decode(params, *args):
            with jax.default_matmul_precision(precision):
                return whisper_decoder.greedy(decoder, self._rules, params, *args)

        return encode, decode

    def _run_compiled(self, program: Any, params: Any, *args: Any) -> Any:
        """Runs a program, after compiling it for shapes that are new."""
        key = program, jax.tree.map(np.shape, args)
        if key not in self._compiled:
            began = time.monotonic()
            self._compiled[key] = program.lower(params, *args).compile()
            self.compiling_s += time.monotonic() - began
        return self._compiled[key](params, *args)

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
        sounds = list(samples)
        # Like with like, as batches are of one length.
        order = sorted(range(len(sounds)), key=lambda i: -len(sounds[i]))
        cut = (windows(sounds[i], self.bands, self.context, self.cut) for i in order)
        both = dict(zip(order, self._run(cut, frames=True), strict=True))
        frames = [np.concatenate(both[i][0]) for i in range(len(sounds))]
        return frames, [both[i][1] for i in range(len(sounds))]

    def transcribe(self, cut: Iterable[Sequence[Window]]) -> Iterator[Transcript]:
        """The transcripts of utterances cut into `windows`, in their order.

        Windows of one length that follow each other make batches: where the context is
        short, sort the utterances.
        """
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
        for _, alike in itertools.groupby(rows, key=lambda row: len(row[1].mel)):
            while batch := list(itertools.islice(alike, self._batch_size)):
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
        mel = np.pad(mel, ((0, spare), (0, 0), (0, 0)))
        real = np.arange(self._batch_size) < len(batch)
        states, cross, detected = self._encode(mel, real)
        for (utterance, _), language in zip(batch, np.asarray(detected), strict=False):
            if utterance.language is None:  # A first window speaks for those after it.
                utterance.language = int(language)
        languages = [utterance.language or 0 for utterance, _ in batch] + [0] * spare
        prompt = self._rules.prompts(languages)
        made = jax.device_get(self._decode(cross, prompt, real))
        if frames:
            states = np.asarray(states)
        for row, (utterance, window) in enumerate(batch):
            ids = made.tokens[row, prompt.shape[1] :]
            (ends,) = np.nonzero(ids == self._rules.end)
            length = ends[0] if len(ends) else len(ids)
            text = self._tokenizer.decode(ids[:length], skip_special_tokens=True)
            unsure = made.log_probability[row] < _MOST_UNSURE
            least = _LEAST_NO_SPEECH if unsure else _SURE_NO_SPEECH
            nobody = bool(made.no_speech[row] > least)
            utterance.texts.append("" if nobody else text.strip())
            utterance.no_speech |= nobody
            utterance.unfinished |= not (len(ends) or nobody)
            utterance.left -= 1
            if frames:
                kept = states[row, : window.frames]
                utterance.frames.append(kept.astype(np.float32))
        self.heard_s += len(batch) * mel.shape[1] / FRAMES_PER_S


@dataclasses.dataclass(eq=False)
class _Utterance:
    """An utterance while its windows are computed."""

    left: int  # Windows to go.
    language: int | None = None
    no_speech: bool = False
    unfinished: bool = False
    texts: list[str] = dataclasses.field(default_factory=list)
    frames: list[np.ndarray] = dataclasses.field(default_factory=list)

    def transcript(self, codes: dict[int, str]) -> Transcript:
        """Joins the windows and marks what is suspicious."""
        text = " ".join(filter(None, self.texts))
        marks = {
            NO_SPEECH: self.no_speech and not text,
            EMPTY: not text,
            REPETITION: any(map(is_repetition, self.texts)),
            UNFINISHED: self.unfinished,
        }
        note = next((mark for mark, holds in marks.items() if holds), "")
        return Transcript(text, codes.get(self.language or 0, ""), note)


def _by_rows(function: Callable[[Any], Any], batch: Any, real: Any) -> Any:
    """A function of a batch; on a CPU row by row, where batches are slower than that.

    What rows that are not real hold is then zero: they cost nothing.
    """
    if jax.default_backend() != "cpu":
        return function(batch)
    one = lambda row: jax.tree.map(lambda x: x[0], function(row[None]))
    none = lambda row: jax.tree.map(jnp.zeros_like, jax.eval_shape(one, row))
    return jax.lax.map(
        lambda args: jax.lax.cond(args[1], one, none, args[0]), (batch, real)
    )
