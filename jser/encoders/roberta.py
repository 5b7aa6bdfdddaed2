"""RoBERTa (Liu et al., 2019): BERT whose positions begin after the padding's.

Numbers are those of transformers' PyTorch model to 3e-5 in float32.
"""

import pathlib
from typing import Any

import jax.numpy as jnp

from jser.encoders import bert, parameters


class Roberta(bert.Bert):
    """The encoder; positions count from `pad + 1`, and padding sits at `pad`."""

    @property
    def max_tokens(self) -> int:
        """The longest window in tokens, specials included; padding may go beyond."""
        return self.config.positions - self.config.pad - 1

    def places(self, ids, mask):
        """Rows of the table of positions, by which ids are the padding's."""
        real = (ids != self.config.pad).astype(jnp.int32)
        return jnp.cumsum(real, axis=1) * real + self.config.pad


def load(
    folder: pathlib.Path, layer: str = "all", dtype: Any = jnp.float32
) -> tuple[Roberta, dict[str, Any]]:
    """The encoder of a checkpoint folder; arguments and errors are `bert.load`'s."""
    module = Roberta(bert.Config.read(folder, "roberta"), dtype, layer)
    pattern = bert.pattern("roberta")
    return module, parameters.load(
        module, bert.EXAMPLE, folder, bert.NAMES, pattern=pattern, dtype=dtype
    )
