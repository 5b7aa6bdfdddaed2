"""Recognition: what a model says of one sound, or of a part of it."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import numpy as np

UNKNOWN = "unknown"  # The label where no emotion is likely enough.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a recording under one label."""

    start_s: float
    end_s: float
    label: str
    scores: Mapping[str, float]  # Mean probability of each emotion within it.
    speaker: str = ""  # Where a diariser has said who speaks.

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


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

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {
            "scores": dict(self.scores),
            "candidates": list(self.candidates),
            "embedding": [float(x) for x in self.embedding],
            "warnings": list(self.warnings),
            "model": dict(self.model),
        }

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)
