"""An export, loaded and run by the lines that its manifest has for that."""

from typing import Any

import numpy as np


def run_as_told(manifest: dict[str, Any], **sizes: int) -> None:
    """On ones of the shapes that it names, in the working folder; checks the results'.

    `sizes` are B and T.
    """
    shape = lambda x: [sizes.get(n, n) for n in x["shape"]]
    given: dict[str, Any] = {
        argument: {name: np.ones(shape(x), x["dtype"]) for name, x in by_name.items()}
        for argument, by_name in manifest["inputs"].items()
    }
    exec("\n".join(manifest["loaded_by"]), given)
    assert list(given["logits"].shape) == shape(manifest["output"])
    if "attributes" in manifest:
        assert list(given["attributes"].shape) == shape(manifest["attributes"])
