"""What decides an encoder's numbers besides its weights."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a checkpoint is to be run."""

    layer: str = "last"  # A choice of `layer_selection`.
    dtype: str = "float32"  # Of matrix products, or "bfloat16".
    compat: bool = False  # As the authors' files are.
    width: int = 0  # D that is wanted, where a checkpoint has two: FACodec's.
