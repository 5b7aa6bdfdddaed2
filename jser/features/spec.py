"""What identifies a front end, and what its encoder is called like."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Encoder(Protocol):
    """Encodes utterances, each independently of the others."""

    @property
    def compiled(self) -> int:
        """Shapes compiled until now; 0 where nothing is."""
        ...

    def __call__(
        self, inputs: Sequence[Any], on_done: Callable[[int], None] | None = None
    ) -> list[np.ndarray]:
        """Frames of each input, in order: [T_i, D], or [T_i, L, D] of all layers.

        Args:
          inputs: Samples at 16 kHz, or transcripts. Hundreds at once are well; what is
            long is cut into windows and what is alike is batched in here.
          on_done: Told how many more inputs are done, now and then.

        Raises:
          ValueError: if an input is too short for a frame, before any is encoded.
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
    # The rest is for front ends with weights.
    model: str = ""  # Name of the hub, or of the folder.
    layer: str = ""
    dtype: str = ""  # Of matrix products.
    weights: str = ""  # Digest of the files.
    backend: str = ""
    compat: bool = False  # As the authors' files are.
    context: str = "full"  # Or "short", of encoders that pad to a fixed length.
    # And these for all of them.
    trimmed: bool = False  # Of sound without the silence at its ends.
    pooling: str = ""  # Of the frames over time, as in `pooling`.

    def described(self) -> dict[str, Any]:
        """What features and runs keep of it.

        A field that is newer than some of them is left out where it has its default, so
        that one and the same front end is described alike by old and new ones.
        """
        fields = dataclasses.asdict(self)
        for newer in ("context", "trimmed", "pooling"):
            if fields[newer] == getattr(Spec, newer):
                del fields[newer]
        return fields


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """A spec and how to get its encoder; `load` is where heavy imports belong."""

    spec: Spec
    load: Callable[[], Encoder]
    name: str  # Of its features.
    # Where nothing is to be encoded: the frames of an utterance, or why there are none.
    stored: Callable[[str], Any] | None = None
