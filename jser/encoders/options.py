"""What decides an encoder's numbers besides its weights."""

import dataclasses

_DTYPES = ("float32", "bfloat16")
_BACKENDS = ("jax", "torch")
CONTEXTS = ("full", "short")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a checkpoint is to be run."""

    layer: str = "last"  # A choice of `layer_selection`.
    dtype: str = "float32"  # Of matrix products, or "bfloat16".
    backend: str = "jax"  # Or "torch" for transformers' own code.
    compat: bool = False  # As the authors' files are.
    context: str = "full"  # Whisper's 30 s, or "short" for the utterance's seconds.

    def check(self, name: str, model_type: str) -> None:
        """Refuses what there is not.

        Args:
          name: Of the encoder, for the error.
          model_type: Its family, if that is known.

        Raises:
          ValueError: if an option has a value that it or the family does not know.
        """
        for option, known in (
            ("dtype", _DTYPES),
            ("backend", _BACKENDS),
            ("context", CONTEXTS),
        ):
            if (value := getattr(self, option)) not in known:
                raise ValueError(
                    f"{option}={value!r} is not one of {', '.join(known)}."
                )
        if self.context == "short":
            if self.compat:
                raise ValueError(
                    "the authors' files are of 30 s: compat needs context='full'."
                )
            if model_type not in ("", "whisper"):
                raise ValueError(
                    f"context='short' is Whisper's alone; a {model_type} reads an"
                    " input's own length as it is: leave it out."
                )
        if model_type != "facodec":
            return
        # Of dtypes, since rounding would choose other entries of the code book.
        for option, only in (
            ("layer", "last"),
            ("dtype", "float32"),
            ("backend", "jax"),
        ):
            if getattr(self, option) != only:
                raise ValueError(f"{name} has only {option}={only!r}.")
