"""Timelines: what is felt when, in a recording of any length.

A sound is read twice, block by block: for the energy of its frames, which says where
there is silence, and for the parts of it that are classified. These are windows, the
stretches between pauses, or segments that a diariser has found. No part depends on how
the sound was cut into blocks, nor on the other parts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import itertools

from absl import logging
import numpy as np

from jser.audio import MIN_SAMPLES, SAMPLE_RATE_HZ
from jser.recognizer import activity
from jser.recognizer.recognition import UNKNOWN, Segment, by_name

# Of sounds of 25 ms or more, float32 at 16 kHz: float [N, C], or [N, C + 3] with
# attributes beside; whatever is averaged here, they are in the same way.
Probabilities = Callable[[Sequence[np.ndarray]], np.ndarray]
Span = tuple[int, int]  # samples[start:stop].

BATCH = 32  # Parts that are classified by one call.
SPOKEN = 0.1  # Of a hop's frames, from which it is not silent.
_LONGEST = 15 * SAMPLE_RATE_HZ  # Of a part between pauses, or of a piece of a segment.
_PAUSE = SAMPLE_RATE_HZ // 2 // activity.FRAME  # What is shorter is no pause,
_LEAST = round(0.3 * SAMPLE_RATE_HZ / activity.FRAME)  # and here no speech.
_ROUNDED_S = 0.5  # What a segment may end behind the sound.


def of_windows(
    blocks: Iterable[np.ndarray],
    probabilities: Probabilities,
    labels: Sequence[str],
    *,
    window_s: float = 4.0,
    hop_s: float = 1.0,
    threshold: float = 0.0,
) -> list[Segment]:
    """Sliding windows, smoothed, and equal neighbours merged.

    Each hop of a recording has the mean of the windows that hold the whole of it; so
    has the rest at the end. Windows start with the hops, and the last ends with the
    sound. Hops that are alike and follow each other are one segment. A hop is silent
    where less than a tenth of it may be speech (`activity`); it has no segment.

    Args:
      blocks: The sound, float32 at 16 kHz in blocks of any lengths; iterated twice.
      probabilities: Of a batch of windows, each of which is as long as the others.
      labels: The emotions, in the order of the probabilities.
      window_s: Length of a window; of a shorter recording, all of it.
      hop_s: From window to window, 25 ms or more and at most a window.
      threshold: A hop whose likeliest emotion is below is `UNKNOWN`.

    Returns:
      Segments in the order of time, which do not overlap.

    Raises:
      ValueError: if the lengths are not as said, or the blocks come only once.
    """
    window, hop = window_and_hop(window_s, hop_s)
    energy, samples = _measured(blocks)
    speech = activity.speech(energy)
    hops = [(i, min(i + hop, samples)) for i in range(0, samples, hop)]
    spoken = np.array([_is_spoken(speech, span) for span in hops])
    last = max(0, samples - window)
    starts = sorted({*range(0, last, hop), last})
    windows = [
        (i, min(i + window, samples))
        for i in starts
        if spoken[i // hop : -(-(i + window) // hop)].any()
    ]
    rows = classify(blocks, windows, probabilities)
    kept = list(itertools.compress(hops, spoken))
    means = _smoothed(rows, windows, kept)
    names = [name(mean, labels, threshold) for mean in means]
    return [
        segment(
            (kept[i][0], kept[k - 1][1]),
            _mean(means[i:k], kept[i:k]),
            labels,
            threshold,
        )
        for i, k in _alike(kept, names)
    ]


def of_pauses(
    blocks: Iterable[np.ndarray],
    probabilities: Probabilities,
    labels: Sequence[str],
    *,
    threshold: float = 0.0,
) -> list[Segment]:
    """A segment for each stretch of speech between pauses, classified as a whole.

    A pause is half a second or more of silence (`activity`). Speech of more than 15 s
    without one is cut where it is softest; less than 0.3 s of it is no speech.

    Args and returns: as of `of_windows`; neighbours are not merged.
    """
    energy, samples = _measured(blocks)
    speech = activity.speech(energy)
    for start, stop in activity.runs(~speech):
        if stop - start < _PAUSE and start > 0 and stop < len(speech):
            speech[start:stop] = True
    spans = []
    for start, stop in activity.runs(speech):
        if stop - start >= _LEAST:
            end = samples if stop == len(speech) else stop * activity.FRAME
            spans += _pieces((start * activity.FRAME, end), energy)
    rows = classify(blocks, spans, probabilities)
    return [
        segment(span, row, labels, threshold)
        for span, row in zip(spans, rows, strict=True)
    ]


def of_segments(
    blocks: Iterable[np.ndarray],
    probabilities: Probabilities,
    labels: Sequence[str],
    segments: Sequence[tuple[float, float, str]],
    *,
    threshold: float = 0.0,
) -> list[Segment]:
    """One segment for each that is given, such as those of a diariser.

    What is given may overlap, and is not asked for speech. More than 15 s are cut where
    they are softest, and have the mean of their pieces, each by its length.

    Args:
      blocks: As of `of_windows`.
      probabilities: As of `of_windows`; the sounds are of different lengths.
      labels: As of `of_windows`.
      segments: Start and end in seconds, and who speaks ("" where nobody knows). One
        may end half a second behind the sound. Of less than 25 ms there is no emotion:
        they are left out, with a warning.
      threshold: A segment whose likeliest emotion is below is `UNKNOWN`.

    Returns:
      Segments by start and end.

    Raises:
      ValueError: if one ends before it starts or lies outside of the sound.
    """
    energy, samples = _measured(blocks)
    given = sorted((_span(start, end, samples), who) for start, end, who in segments)
    whole = [(span, who) for span, who in given if span[1] - span[0] >= MIN_SAMPLES]
    if less := len(given) - len(whole):
        logging.warning("segments of less than 25 ms, which are left out: %d", less)
    pieces = [_pieces(span, energy) for span, _ in whole]
    rows = classify(blocks, list(itertools.chain(*pieces)), probabilities)
    ends = np.cumsum([len(p) for p in pieces], dtype=int)
    return [
        segment(span, _mean(rows[end - len(p) : end], p), labels, threshold, speaker)
        for (span, speaker), p, end in zip(whole, pieces, ends, strict=True)
    ]


def classify(
    blocks: Iterable[np.ndarray], spans: Sequence[Span], probabilities: Probabilities
) -> np.ndarray:
    """Probabilities of parts of a sound, which may overlap.

    Args:
      blocks: The sound; of the parts only those of a batch are kept.
      spans: Samples of each part.
      probabilities: Of a batch of sounds.

    Returns:
      Float [N, C] or [N, C + 3], in the order of the spans.
    """
    order = sorted(range(len(spans)), key=spans.__getitem__)
    parts, rows = _cut(blocks, [spans[i] for i in order]), []
    while batch := list(itertools.islice(parts, BATCH)):
        rows.append(probabilities(batch))
    return np.concatenate(rows)[np.argsort(order)] if rows else np.zeros((0, 0))


def segment(
    span: Span,
    row: np.ndarray,
    labels: Sequence[str],
    threshold: float = 0.0,
    speaker: str = "",
) -> Segment:
    """Samples and their row of `Probabilities`, under the name of these."""
    start, stop = span
    p, attributes = np.split(row, [len(labels)])
    likeliest: list[int] = np.argsort(-p, kind="stable").tolist()
    return Segment(
        start_s=start / SAMPLE_RATE_HZ,
        end_s=stop / SAMPLE_RATE_HZ,
        label=name(row, labels, threshold),
        scores={labels[i]: float(p[i]) for i in likeliest},
        speaker=speaker,
        attributes=by_name(attributes),
    )


def name(row: np.ndarray, labels: Sequence[str], threshold: float) -> str:
    """The likeliest label, or `UNKNOWN` where its probability is below."""
    p = row[: len(labels)]
    return labels[int(p.argmax())] if p.max() >= threshold else UNKNOWN


def window_and_hop(window_s: float, hop_s: float) -> Span:
    """Both in samples.

    Raises:
      ValueError: if a hop has less than 25 ms or more than a window.
    """
    least = MIN_SAMPLES / SAMPLE_RATE_HZ
    if not least <= hop_s <= window_s < np.inf:
        raise ValueError(
            f"hop_s is {hop_s:g} and window_s {window_s:g}; a hop has {least:g} s or"
            " more, and not more than a window."
        )
    return round(window_s * SAMPLE_RATE_HZ), round(hop_s * SAMPLE_RATE_HZ)


def _measured(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Energy of the frames, and the samples of a sound that is long enough."""
    energy, samples = activity.energy_db(blocks)
    if samples < MIN_SAMPLES:
        raise ValueError(f"{samples} samples at 16 kHz; the least is {MIN_SAMPLES}.")
    return energy, samples


def _is_spoken(speech: np.ndarray, span: Span) -> bool:
    first = min(span[0] // activity.FRAME, len(speech) - 1)
    frames = speech[first : max(first + 1, span[1] // activity.FRAME)]
    return bool(frames.mean() >= SPOKEN)


def _smoothed(
    rows: np.ndarray, windows: Sequence[Span], hops: Sequence[Span]
) -> list[np.ndarray]:
    """Of each hop, the mean over the windows that hold the whole of it."""
    begin, end = np.array(windows, int).reshape(-1, 2).T  # Both in order.
    first = [np.searchsorted(end, stop) for _, stop in hops]
    behind = [np.searchsorted(begin, start, "right") for start, _ in hops]
    return [rows[i:k].mean(axis=0) for i, k in zip(first, behind, strict=True)]


def _alike(spans: Sequence[Span], names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First and behind the last of those that touch and have one name."""
    first = 0
    for i in range(1, len(spans) + 1):
        touches = i < len(spans) and spans[i][0] == spans[i - 1][1]
        if not (touches and names[i] == names[i - 1]):
            yield first, i
            first = i


def _mean(rows: Sequence[np.ndarray] | np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Of the rows of parts, each by its length."""
    return np.average(rows, axis=0, weights=[stop - start for start, stop in spans])


def _pieces(span: Span, energy: np.ndarray) -> list[Span]:
    """Cuts what is longer than 15 s where it is softest, in the middle of a frame."""
    (start, stop), frame = span, activity.FRAME
    found = []
    while stop - start > _LONGEST:
        first = (start + _LONGEST // 2) // frame
        last = min(start + _LONGEST, stop - _LEAST * frame) // frame
        at = (first + int(np.argmin(energy[first:last]))) * frame + frame // 2
        found.append((start, at))
        start = at
    return [*found, (start, stop)]


def _span(start_s: float, end_s: float, samples: int) -> Span:
    where = f"a segment is from {start_s:g} to {end_s:g} s"
    if not 0 <= start_s <= end_s < np.inf:
        raise ValueError(f"{where}; it starts at 0 or later and ends after that.")
    length_s = samples / SAMPLE_RATE_HZ
    if end_s > length_s + _ROUNDED_S:
        raise ValueError(
            f"{where}, and the sound has {length_s:.2f} s. Give the segments of this"
            " recording."
        )
    start, stop = (round(s * SAMPLE_RATE_HZ) for s in (start_s, end_s))
    return min(start, samples), min(stop, samples)


def _cut(blocks: Iterable[np.ndarray], spans: Iterable[Span]) -> Iterator[np.ndarray]:
    """The samples of each span, in the order of their starts."""
    source = iter(blocks)
    held, begin, end = [np.zeros(0, np.float32)], 0, 0  # samples[begin:end].
    for start, stop in spans:
        while end < stop:
            block = next(source, None)
            if block is None:
                raise ValueError("the blocks of a sound must be there twice.")
            held.append(block)
            end += len(block)
            if end <= start:
                held, begin = [], end
        whole = held[0] if len(held) == 1 else np.concatenate(held)
        held, begin = [whole[start - begin :]], start
        yield held[0][: stop - start].copy()  # A part of it would keep the whole.
