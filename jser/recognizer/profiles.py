"""Profiles: statistics of a room, a microphone or a person, learned without labels.

A model reads frames scaled by the statistics of the recordings it was trained on. Other
recordings have others: a profile holds theirs. While there are few of them, it stays
near those of the training set.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import pathlib
from typing import Any

import numpy as np

from jser import archives, console, files

SHRINKAGE = 8.0  # The training set's statistics weigh as much as so many recordings.
_SCHEMA = 1
_FEW = 8  # Recordings of a person, below which his statistics harm even at best.
_ALIKE = 0.5  # Share of one emotion above which they are those of the emotion.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """The columns' statistics over some recordings, by name of features."""

    name: str
    model: str  # Digest of the model that it was made for.
    recordings: int
    mean: Mapping[str, np.ndarray]  # Float32, D or L D.
    deviation: Mapping[str, np.ndarray]
    caution: str = ""  # What every answer by it repeats.

    @classmethod
    def of(
        cls, name: str, model: str, frames: Mapping[str, Sequence[np.ndarray]]
    ) -> "Profile":
        """The profile of recordings by their frames."""
        joined = {n: np.concatenate(x).astype(np.float32) for n, x in frames.items()}
        return cls(
            name=name,
            model=model,
            recordings=len(next(iter(frames.values()))),
            mean={n: x.mean(axis=0) for n, x in joined.items()},
            deviation={n: x.std(axis=0) for n, x in joined.items()},
        )

    def shrunk(self, name: str, mean: Any, deviation: Any) -> dict[str, np.ndarray]:
        """The "standard" variables of a stream between the training set's and these.

        Args:
          name: Of the features.
          mean: Of the training set.
          deviation: Likewise.
        """
        share = self.recordings / (self.recordings + SHRINKAGE)
        variance = share * self.deviation[name] ** 2 + (1 - share) * deviation**2
        own = np.sqrt(variance)
        return {
            "mean": share * self.mean[name] + (1 - share) * np.asarray(mean),
            # A column that never changes carries nothing: 1 keeps it finite.
            "deviation": np.where(own > 1e-6, own, 1.0).astype(np.float32),
        }

    @property
    def few(self) -> str:
        """What is to be said while the training set weighs more; empty after."""
        if self.recordings >= SHRINKAGE:
            return ""
        return (
            f"profile {self.name!r}: {console.counted(self.recordings, 'recording')};"
            f" below {SHRINKAGE:.0f} it says less of yours than of those that the model"
            " learned from"
        )

    def save(self, path: pathlib.Path) -> None:
        """Writes the profile, whole or not at all: <path>.npz."""
        out = io.BytesIO()
        arrays = {f"mean {n}": x for n, x in self.mean.items()}
        arrays |= {f"deviation {n}": x for n, x in self.deviation.items()}
        about = {
            "schema": np.array(_SCHEMA),
            "name": np.array(self.name),
            "model": np.array(self.model),
            "recordings": np.array(self.recordings),
            "caution": np.array(self.caution),
        }
        np.savez(out, allow_pickle=False, **about, **arrays)
        files.write_atomically(path, out.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path) -> "Profile":
        """Reads a profile that `save` wrote.

        Raises:
          FileNotFoundError: if there is none.
          ValueError: if it is damaged, or of a newer version.
        """
        again = "Make it again with jser recognize --adapt."
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no profile there. {again}")
        with files.reading(path, again):
            arrays = archives.read_npz(path)
            files.refuse_newer(path, int(arrays["schema"]), _SCHEMA)
            kinds = {
                kind: {
                    key.removeprefix(f"{kind} "): x
                    for key, x in arrays.items()
                    if key.startswith(f"{kind} ")
                }
                for kind in ("mean", "deviation")
            }
            if not all(
                np.isfinite(x).all() for by in kinds.values() for x in by.values()
            ):
                raise ValueError("it holds numbers that are not finite")
            return cls(
                name=str(arrays["name"]),
                model=str(arrays["model"]),
                recordings=int(arrays["recordings"]),
                caution=str(arrays["caution"]),
                **kinds,
            )


def person_caution(name: str, recordings: int, label: str, share: float) -> str:
    """What is to be said of a person's profile; empty where nothing is.

    Args:
      name: Of the profile.
      recordings: That it is made of.
      label: What the model hears in most of them, without the profile,
      share: and in how many.
    """
    if recordings < _FEW:
        return (
            f"profile {name!r}: {console.counted(recordings, 'recording')}; below"
            f" {_FEW} a person's statistics harm"
        )
    if share > _ALIKE:
        return (
            f"profile {name!r}: {share:.0%} of the recordings sound {label}; if they"
            " are, that emotion is scaled away, and answers by it are wrong"
        )
    return ""
