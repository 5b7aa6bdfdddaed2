"""A Recognizer without weights: what it says depends on how loud a sound is."""

from collections.abc import Callable, Mapping
import dataclasses

import numpy as np

from jser import audio
from jser.recognizer import making, reading
from jser.recognizer.recognition import UNKNOWN, Recognition, Segment
from jser.recognizer.recognizer import Recognizer

LABELS = ("angry", "happy", "neutral", "sad")
_SURE = 0.49  # Half-way from one level to the next it names none.
CARD = """---
library_name: jser
---
# fake-loudness

Says how loud a sound is. **No diagnosis.**

```
jser recognize my.wav --model fake-loudness --format json --out answers --coverage 0.8
```

> trained on nothing,
> and never measured

## Limits

* It has never heard speech.

| corpus | UAR | what else could be told of it in the head of a very wide table |
|---|---|---|
| none | .25 | of `five` speakers, by [nobody](x.md) |
"""


class FakeRecognizer(Recognizer):
    """Loud is angry, soft is sad; `before` is run first, in the model's thread.

    `attributes` it has of every sound.
    """

    def __init__(
        self,
        before: Callable[[], object] = lambda: None,
        *,
        reads_text: bool = False,
        attributes: Mapping[str, float] | None = None,
    ):
        self.name, self.labels, self.card = "fake-loudness", LABELS, CARD
        self.about = {"license": "cc0-1.0"}
        self.coverages, self.reads_text = making.COVERAGES, reads_text
        self._before, self._attributes = before, attributes or {}

    def __call__(self, sound, *, transcript=None, coverage=0.9, **_) -> Recognition:
        given = reading.read(sound)
        self._before()
        scores = _scores(given.samples)
        likely = [n for n, p in scores.items() if p > 1 - coverage]
        return Recognition(
            file="",
            label=_label(scores),
            scores=scores,
            candidates=tuple(likely),
            coverage=coverage,
            duration_s=given.duration_s,
            embedding=np.ones(3, np.float32),
            transcript=transcript,
            warnings=(*given.notes, "it was trained on nothing"),
            model={"name": self.name, "digest": "00"},
            attributes=self._attributes,
        )

    def timeline(self, sound, *, window_s=4.0, hop_s=1.0, **_) -> list[Segment]:
        samples, rate_hz = reading.read(sound).samples, audio.SAMPLE_RATE_HZ
        self._before()
        size, segments = round(rate_hz * hop_s), []
        if not samples.any():
            return []
        for start in range(0, len(samples), size):
            scores = _scores(samples[start : start + size])
            end_s = min(start + size, len(samples)) / rate_hz
            label = _label(scores)
            if segments and segments[-1].label == label:
                segments[-1] = dataclasses.replace(segments[-1], end_s=end_s)
                continue
            start_s = start / rate_hz
            segments.append(
                Segment(
                    **{"start_s": start_s, "end_s": end_s, "label": label},
                    scores=scores,
                    attributes=self._attributes,
                )
            )
        return segments


def _label(scores: dict[str, float]) -> str:
    label, p = next(iter(scores.items()))
    return label if p > _SURE else UNKNOWN


def _scores(samples: np.ndarray) -> dict[str, float]:
    """Loudest first: the nearest of four levels is the likeliest."""
    level = np.sqrt(np.mean(np.square(samples))) + 1e-4
    off = np.abs(np.log(level / np.array([0.5, 0.1, 0.02, 0.004])))
    p = np.exp(-2 * off) / np.exp(-2 * off).sum()
    return {LABELS[i]: float(p[i]) for i in np.argsort(-p)}
