"""Processors: from utterances to windows, padded batches and an encoder's arguments.

A window is a part of an utterance that an encoder sees at once. One that is longer than
an encoder takes is cut into windows that overlap: each gives the frames of its middle,
which have context on either side, and all together give the frames that the formula of
the encoder promises for the whole utterance. Nothing is dropped.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import dataclasses
import functools
import itertools
import os
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from jser import audio
from jser.encoders import facodec, tokens, whisper

MAX_S = 30
_CONTEXT_S = 2.0  # On either side of a window's middle.
_STEPS_PER_OCTAVE = 8  # Of padded lengths: less than 6 % is padding, on average.
_LEAST = 16  # Frames; what is shorter is padded to these.
_COMPAT_TOKENS = 80
_WHISPER_FRAMES = whisper.frames(whisper.WINDOW_SAMPLES)


@dataclasses.dataclass(frozen=True)
class Window:
    """A window, and which of its frames belong to the utterance's."""

    data: np.ndarray  # Float32 samples, or int32 tokens.
    frames: int  # That the encoder makes of it, padding left out.
    keep: slice


@runtime_checkable
class Processor(Protocol):
    """Preprocessing of one kind of encoder: from utterances to its arguments."""

    masked: ClassVar[bool]  # Whether the encoder knows what is padding.

    def cut(self, x: Any) -> list[Window]:
        """The windows of an utterance.

        Raises:
          ValueError: if the encoder makes no frame of it.
        """
        ...

    def padded(self, frames: int) -> int:
        """The length in frames that a window of so many is padded to."""
        ...

    def batch(self, windows: Sequence[Window], frames: int) -> tuple[np.ndarray, ...]:
        """The windows, padded to so many frames, as the encoder's arguments."""
        ...


def spans(frames: int, longest: int, context: int) -> list[tuple[int, int, slice]]:
    """Cuts frames into windows of no more than `longest`, of almost equal length.

    Returns:
      Of each window its first frame, the frame after its last, and its middle.
    """
    if frames <= longest:
        return [(0, frames, slice(0, frames))]
    count = -(-frames // (longest - 2 * context))
    edges = [frames * k // count for k in range(count + 1)]
    windows = []
    for start, stop in itertools.pairwise(edges):
        first, end = max(start - context, 0), min(stop + context, frames)
        windows.append((first, end, slice(start - first, stop - first)))
    return windows


def bucket(frames: int) -> int:
    """The next of the few lengths padded to: 16, 18, ... 32, 36, ... 64, 72, ...."""
    frames = max(frames, _LEAST)
    step = 2 ** max((frames - 1).bit_length() - _STEPS_PER_OCTAVE.bit_length(), 0)
    return -(-frames // step) * step


@dataclasses.dataclass(frozen=True)
class WaveformProcessor:
    """Waveform processor, for what convolves it: HuBERT, WavLM, wav2vec 2.0, ...

    Attributes:
      conv: Kernel and stride of every convolution, none of them padded.
      normalise: Brings an utterance's level to what the encoder knows.
      whole: No windows, whatever an utterance's length.
      exact: Not padded; one utterance at a time.
    """

    masked: ClassVar[bool] = True
    conv: tuple[tuple[int, int], ...]
    normalise: Callable[[np.ndarray], np.ndarray]
    whole: bool = False
    exact: bool = False

    @functools.cached_property
    def hop(self) -> int:
        """Samples from a frame to the next."""
        return int(np.prod([stride for _, stride in self.conv]))

    @functools.cached_property
    def field(self) -> int:
        """Samples that a frame is made from."""
        field = 1
        for kernel, stride in reversed(self.conv):
            field = (field - 1) * stride + kernel
        return field

    def frames(self, samples: int) -> int:
        """(n - 400) // 320 + 1 for the usual seven convolutions."""
        return (samples - self.field) // self.hop + 1

    def samples(self, frames: int) -> int:
        """The least samples that make so many frames."""
        return (frames - 1) * self.hop + self.field

    def cut(self, x: np.ndarray) -> list[Window]:
        """Windows of at most 30 s; the level is the whole utterance's."""
        frames = self.frames(len(x))
        _refuse_short(x, self.field)
        x = self.normalise(x)
        longest = self.frames(MAX_S * audio.SAMPLE_RATE_HZ)
        context = round(_CONTEXT_S * audio.SAMPLE_RATE_HZ / self.hop)
        windows = []
        for a, b, keep in spans(frames, frames if self.whole else longest, context):
            # What is left of the last frame's hop is the convolutions' to ignore.
            end = len(x) if b == frames else a * self.hop + self.samples(b - a)
            windows.append(Window(x[a * self.hop : end], b - a, keep))
        return windows

    def padded(self, frames: int) -> int:
        """The next bucket."""
        return frames if self.exact else bucket(frames)

    def batch(self, windows: Sequence[Window], frames: int) -> tuple[np.ndarray, ...]:
        """Samples [B, n], lengths [B]."""
        lengths = np.array([len(w.data) for w in windows], np.int32)
        # A norm over time sees the samples past the last frame, too.
        size = max(lengths) if self.exact else self.samples(frames) + self.hop - 1
        rows = np.zeros((len(windows), size), np.float32)
        for row, window in zip(rows, windows, strict=True):
            row[: len(window.data)] = window.data
        return rows, lengths


@dataclasses.dataclass(frozen=True)
class MelProcessor:
    """Log-mel processor: Whisper's spectrograms of 30 s, whatever the length.

    Attributes:
      bands: Of the spectrogram.
      most: The authors' files end after so many frames, and after 30 s; None for
        windows.
      short: Spectrograms end with the second in which a window does.
    """

    masked: ClassVar[bool] = False
    bands: int
    most: int | None = None
    short: bool = False

    def cut(self, x: np.ndarray) -> list[Window]:
        """Windows of at most 30 s: ceil(n / 320) frames altogether."""
        _refuse_short(x)
        frames, longest = whisper.frames(len(x)), _WHISPER_FRAMES
        if self.most is not None:
            x = x[: whisper.WINDOW_SAMPLES]
            keep = slice(0, min(frames, longest, self.most))
            return [Window(x, min(frames, longest), keep)]
        hop = whisper.WINDOW_SAMPLES // longest
        context = round(_CONTEXT_S * audio.SAMPLE_RATE_HZ / hop)
        return [
            Window(x[a * hop : b * hop], b - a, keep)
            for a, b, keep in spans(frames, longest, context)
        ]

    def padded(self, frames: int) -> int:
        """1500, as the encoder always makes, or whole seconds where it is short."""
        second = _WHISPER_FRAMES // MAX_S
        return -(-frames // second) * second if self.short else _WHISPER_FRAMES

    def batch(self, windows: Sequence[Window], frames: int) -> tuple[np.ndarray, ...]:
        """Spectrograms [B, 3000, bands], or shorter ones."""
        # Threads help: the transform's loops leave the interpreter's lock.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            mel = functools.partial(whisper.log_mel, bands=self.bands)
            made = pool.map(mel, (w.data for w in windows))
            return (np.stack([x[: 2 * frames] for x in made]),)


@dataclasses.dataclass(frozen=True)
class CodecProcessor:
    """Waveform processor of FACodec, in steps of 12.5 ms; `whole`: no windows."""

    masked: ClassVar[bool] = True
    whole: bool = False

    def cut(self, x: np.ndarray) -> list[Window]:
        """Windows of at most 30 s: n // 200 + 1 frames altogether."""
        _refuse_short(x)
        hop, frames = facodec.HOP, facodec.frames(len(x))
        longest = facodec.frames(MAX_S * audio.SAMPLE_RATE_HZ)
        context = round(_CONTEXT_S * audio.SAMPLE_RATE_HZ / hop)
        windows = []
        for a, b, keep in spans(frames, frames if self.whole else longest, context):
            samples = x[a * hop : len(x) if b == frames else b * hop]
            windows.append(Window(samples, facodec.frames(len(samples)), keep))
        return windows

    def padded(self, frames: int) -> int:
        """The next bucket."""
        return bucket(frames)

    def batch(self, windows: Sequence[Window], frames: int) -> tuple[np.ndarray, ...]:
        """Samples [B, n], lengths [B]."""
        rows = np.zeros((len(windows), frames * facodec.HOP - 1), np.float32)
        for row, window in zip(rows, windows, strict=True):
            row[: len(window.data)] = window.data
        return rows, np.array([len(w.data) for w in windows], np.int32)


@dataclasses.dataclass(frozen=True)
class TokenProcessor:
    """Token processor: transcripts as ids, the specials at their ends included.

    Attributes:
      tokenizer: From `tokens.load`.
      longest: Tokens of the longest window.
      pad: The padding's id.
      padding: The authors' files: a transcript is truncated at 80 tokens or padded to
        them, and the encoder's states on the padding are kept.
    """

    masked: ClassVar[bool] = True
    tokenizer: Any
    longest: int
    pad: int
    padding: bool = False

    def cut(self, x: str) -> list[Window]:
        """Windows of the tokens; of specials at the seams no frames are kept."""
        if self.padding:
            ids = tokens.truncate(self.tokenizer, x, _COMPAT_TOKENS)
            return [Window(ids, len(ids), slice(0, _COMPAT_TOKENS))]
        windows = tokens.tokenize(self.tokenizer, x, self.longest)
        kept = tokens.kept(windows)
        return [Window(w, len(w), s) for w, s in zip(windows, kept, strict=True)]

    def padded(self, frames: int) -> int:
        """The next bucket, or the authors' 80."""
        return _COMPAT_TOKENS if self.padding else bucket(frames)

    def batch(self, windows: Sequence[Window], frames: int) -> tuple[np.ndarray, ...]:
        """Ids [B, S], and which are real [B, S]."""
        return tokens.pad([w.data for w in windows], self.pad, frames)


def _refuse_short(x: np.ndarray, least: int = 0) -> None:
    least = max(least, audio.MIN_SAMPLES)
    if len(x) < least:
        raise ValueError(f"{len(x)} samples are too few; the least is {least}.")
