"""Recognition of a sound that is still being made: a microphone, a pipe."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soxr

from jser.audio import MIN_SAMPLES, SAMPLE_RATE_HZ
from jser.recognizer import activity, timeline
from jser.recognizer.recognition import Segment


def stream(
    chunks: Iterable[np.ndarray],
    probabilities: timeline.Probabilities,
    labels: Sequence[str],
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    window_s: float = 4.0,
    hop_s: float = 1.0,
    threshold: float = 0.0,
) -> Iterator[Segment]:
    """A segment for each hop, as soon as it has been heard.

    It has the probabilities of the window that ends with the hop, which is shorter at
    the beginning. Nothing is smoothed: that would have to wait for what follows. In
    silence (`activity.Running`) the label is "" and there are no scores.

    Args:
      chunks: Float [n] or [n, channels] in [-1, 1], of any lengths; channels are
        averaged. What has come meanwhile is classified together.
      probabilities: Of a batch of windows of different lengths.
      labels: The emotions, in the order of the probabilities.
      sample_rate_hz: Of the chunks; other rates than 16 kHz are resampled.
      window_s: What the probabilities are of.
      hop_s: From segment to segment, 25 ms or more and at most a window.
      threshold: A segment whose likeliest emotion is below is `UNKNOWN`.

    Returns:
      Segments that touch. The last may be shorter than a hop; a rest of less than 25 ms
      has none.

    Raises:
      ValueError: if the lengths are not as said; while iterating, if a chunk is not.
    """
    window, hop = timeline.window_and_hop(window_s, hop_s)
    if sample_rate_hz <= 0:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; it must be above 0.")
    hops = _hops(_at_16_khz(chunks, sample_rate_hz), hop)

    def classified() -> Iterator[Segment]:
        for ready in _windows(hops, window):
            spoken = [sound for _, sound in ready if sound is not None]
            rows = iter(probabilities(spoken) if spoken else ())
            for span, sound in ready:
                if sound is None:
                    yield _silence(span)
                else:
                    yield timeline.segment(span, next(rows), labels, threshold)

    return classified()


def _silence(span: timeline.Span) -> Segment:
    start_s, end_s = (i / SAMPLE_RATE_HZ for i in span)
    return Segment(start_s=start_s, end_s=end_s, label="", scores={})


def _windows(
    hops: Iterable[list[np.ndarray]], window: int
) -> Iterator[list[tuple[timeline.Span, np.ndarray | None]]]:
    """Of each hop, its samples and the window that ends with it; None in silence."""
    running, heard, end = activity.Running(), np.zeros(0, np.float32), 0
    for fresh in hops:
        ready = []
        for hop in fresh:
            heard = np.concatenate([heard, hop])[-window:]
            span, end = (end, end + len(hop)), end + len(hop)
            spoken = running.hear(hop).mean() >= timeline.SPOKEN
            ready.append((span, heard if spoken else None))
        yield ready


def _hops(blocks: Iterable[np.ndarray], hop: int) -> Iterator[list[np.ndarray]]:
    """All hops that are whole by now, as often as some are; in the end, the rest."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= hop:
            most = min(len(rest) // hop, timeline.BATCH) * hop
            yield list(rest[:most].reshape(-1, hop))
            rest = rest[most:]
    if len(rest) >= MIN_SAMPLES:
        yield [rest]


def _at_16_khz(chunks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    if rate_hz == SAMPLE_RATE_HZ:
        yield from map(_mono, chunks)
        return
    resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(_mono(chunk))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono(chunk: np.ndarray) -> np.ndarray:
    """The chunk as float32 [n].

    Raises:
      ValueError: if it is no sound as `stream` wants it.
    """
    if not np.issubdtype(chunk.dtype, np.floating) or chunk.ndim not in (1, 2):
        raise ValueError(
            f"a chunk is {chunk.dtype} of shape {chunk.shape}; it must be float in"
            " [-1, 1], [n] or [n, channels]. Divide 16-bit samples by 32768."
        )
    mono = chunk.astype(np.float32) if chunk.ndim == 1 else chunk.mean(1, np.float32)
    if not np.isfinite(mono).all():
        raise ValueError("a chunk holds NaN, infinite or far too large samples.")
    return mono
