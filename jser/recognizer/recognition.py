"""Recognition: what a model says of one sound, or of a part of it."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import numpy as np

from jser.corpora.utterances import ATTRIBUTES

UNKNOWN = "unknown"  # The label where no emotion is likely enough.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a recording under one label."""

    start_s: float
    end_s: float
    label: str
    scores: Mapping[str, float]  # Mean probability of each emotion within it.
    speaker: str = ""  # Where a diariser has said who speaks.
    # Mean arousal, valence and dominance; empty of a model that predicts none.
    attributes: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; attributes only where there are some."""
        return _without_empty(dataclasses.asdict(self), "attributes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognition:
    """The emotion of one sound."""

    file: str  # Its path or name; empty of an array.
    label: str  # The likeliest emotion, or `UNKNOWN`.
    scores: Mapping[str, float]  # Calibrated probabilities, likeliest first.
    candidates: tuple[str, ...]  # A conformal set: the true one is among them ...
    coverage: float  # ... in this share of cases, or more.
    duration_s: float
    embedding: np.ndarray  # Float32, F; what the first member's classifier reads.
    transcript: str | None = None
    warnings: tuple[str, ...] = ()  # Why the answer may be worth less.
    model: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Arousal, valence and dominance; empty of a model that predicts none.
    attributes: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; attributes only where there are some."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        whole = fields | {
            "scores": dict(self.scores),
            "candidates": list(self.candidates),
            "embedding": [float(x) for x in self.embedding],
            "warnings": list(self.warnings),
            "model": dict(self.model),
            "attributes": dict(self.attributes),
        }
        return _without_empty(whole, "attributes")

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)


def by_name(attributes: np.ndarray) -> dict[str, float]:
    """Attributes [3] by their names; none of [0]."""
    return dict(zip(ATTRIBUTES, attributes.tolist(), strict=False))


def in_words(attributes: Mapping[str, float]) -> str:
    """`arousal 5.2, valence 2.1, dominance 4.9`; empty where there are none."""
    return ", ".join(f"{name} {x:.1f}" for name, x in attributes.items())


def _without_empty(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields, without one that is empty."""
    return {k: x for k, x in fields.items() if k != name or x}
