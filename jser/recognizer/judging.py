"""From calibrated probabilities to what is said of a sound."""

import dataclasses

import numpy as np

from jser.recognizer import sound_notes
from jser.recognizer.bundle import Bundle
from jser.recognizer.profiles import Profile
from jser.recognizer.recognition import UNKNOWN, Recognition, by_name


@dataclasses.dataclass(frozen=True)
class Judge:
    """How much is said, and by whose statistics."""

    model: Bundle
    coverage: float
    top_k: int | None
    profile: Profile | None

    def __post_init__(self) -> None:
        kept = self.model.calibration.candidates
        if str(self.coverage) not in kept:
            known = ", ".join(kept)
            raise ValueError(f"coverage {self.coverage!r} is not one of {known}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k: {self.top_k} must be 1 or more.")

    def __call__(
        self,
        sound: sound_notes.Read,
        row: np.ndarray,
        vector: np.ndarray,
        transcript: str | None,
        *,
        far: bool,
    ) -> Recognition:
        """What is said of one sound by its row, `network.Network`."""
        model, fitted = self.model, self.model.calibration
        p, attributes = np.split(row, [len(model.labels)])
        order = np.argsort(-p, kind="stable")
        limit = fitted.candidates[str(self.coverage)]
        candidates = [i for i in order if 1 - p[i] <= limit] or [order[0]]
        sure = p[order[0]] >= fitted.unknown_below and not sound.silent
        by = self.profile
        notes = [sound_notes.FAR] if far else []
        about = {"name": model.name, "digest": model.digest}
        return Recognition(
            file=sound.name,
            label=model.labels[order[0]] if sure else UNKNOWN,
            scores={model.labels[i]: float(p[i]) for i in order[: self.top_k]},
            candidates=tuple(model.labels[i] for i in candidates),
            coverage=self.coverage,
            duration_s=sound.duration_s,
            embedding=vector,
            attributes=by_name(attributes),
            transcript=transcript,
            warnings=(*sound.notes, *notes, *cautions(model, by)),
            model=about | ({"profile": by.name} if by else {}),
        )


def cautions(model: Bundle, by: Profile | None) -> tuple[str, ...]:
    """What is said of every sound."""
    of_model = str(model.about.get("caution") or "")
    told = (by.few and of_model, by.caution or by.few) if by else (of_model,)
    return tuple(filter(None, told))
