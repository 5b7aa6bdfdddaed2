"""Front ends: what turns an utterance's sound or transcript into frames [T, D].

A front end is an entry of `FRONT_ENDS`. Everything that decides its numbers is in its
`Spec`, which becomes part of the fingerprint of the features made with it.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Protocol

import numpy as np

from jser.extract import acoustic, text


class Encoder(Protocol):
    """Encodes utterances, each independently of the others."""

    def __call__(
        self,
        inputs: Sequence[Any],
        on_done: Callable[[int], object] | None = None,
    ) -> list[np.ndarray]:
        """Frames [T_i, D] float32 of each input: samples at 16 kHz, or a transcript.

        `on_done(n)` is called whenever n more of them are done.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """A front end by its name; two specs that are equal make equal features."""

    name: str
    kind: str  # What it reads: "speech" (sound) or "text" (transcript).
    width: int  # D.
    layers: int = 1  # L; frames are [T, L, D] where it is more than one.
    frames_per_s: float = 0.0  # 0 where frames are no steps in time.
    version: int = 1  # Raised when the numbers change.
    model: str = ""  # Checkpoint, where there is one.
    layer: str = ""
    weights: str = ""  # Digest of the checkpoint; empty where there is none.
    dtype: str = ""
    backend: str = ""
    compat: bool = False


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """A spec and how to get its encoder; `load` is where heavy imports belong."""

    spec: Spec
    load: Callable[[], Encoder]


def _each(encode: Callable[[Any], np.ndarray]) -> Callable[[], Encoder]:
    return lambda: lambda inputs, on_done=None: [encode(x) for x in inputs]


_ALL = (
    FrontEnd(
        Spec(
            name="logmel",
            kind="speech",
            width=acoustic.MELS,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.logmel),
    ),
    FrontEnd(
        Spec(
            name="mfcc",
            kind="speech",
            width=2 * acoustic.CEPSTRA,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.mfcc),
    ),
    FrontEnd(
        Spec(
            name="prosody",
            kind="speech",
            width=acoustic.PROSODY_WIDTH,
            frames_per_s=acoustic.FRAMES_PER_S,
        ),
        _each(acoustic.prosody),
    ),
    FrontEnd(
        Spec(name="functionals", kind="speech", width=acoustic.FUNCTIONALS_WIDTH),
        _each(acoustic.functionals),
    ),
    FrontEnd(
        Spec(name="char_ngrams", kind="text", width=text.NGRAM_BUCKETS),
        _each(text.char_ngrams),
    ),
)
FRONT_ENDS = {f.spec.name: f for f in _ALL}


def open(name: str, **_: Any) -> FrontEnd:  # noqa: D103
    return get(name)


MODELS: dict[str, Spec] = {}  # By name: front ends with weights, whichever.


def get(name: str) -> FrontEnd:
    """The front end of that name.

    Raises:
      ValueError: if there is none, with those there are.
    """
    if name not in FRONT_ENDS:
        raise ValueError(
            f"front end {name!r} is not one of {', '.join(sorted(FRONT_ENDS))}."
        )
    return FRONT_ENDS[name]
