"""Pretrained speech and text encoders in JAX, parity-tested with PyTorch.

    encode = jser.encoders.load("microsoft/wavlm-large", layer="all", dtype="bfloat16")
    frames = encode([samples, ...])  # Of each utterance [T, L, D], float32 in numpy.

README.md lists the families. Importing this package alone imports no JAX.
"""

from __future__ import annotations

import pathlib
import typing

if typing.TYPE_CHECKING:
    from jser.encoders.checkpoints import Encoder


def load(
    checkpoint: pathlib.Path | str,
    *,
    layer: str = "last",
    dtype: str = "float32",
    backend: str = "jax",
    compat: bool = False,
    context: str = "full",
) -> Encoder:
    """A pretrained encoder, by its checkpoint.

    Args:
      checkpoint: A folder, or `<owner>/<model>` of the Hugging Face hub. Which family
        it is of says config.json's `model_type`; FACodec is told by its two files, and
        gives prosody (256 columns), then timbre (256).
      layer: Which hidden states are the frames: "last", a number (0 for what the first
        block reads), "mean_last_4", a range "2-4", a list "1,3,6", or "all" of them.
      dtype: Of matrix products and convolutions: "float32" or "bfloat16".
      backend: "jax", or "torch" for transformers' own code, which runs other families,
        too: pip install "jser[torch]".
      compat: Text is cut at 80 tokens or padded to them, padding's states included;
        Whisper's frames end after as many as it is wide; no other sound is cut into
        windows. As the files of the paper's authors are.
      context: What Whisper reads: "full" for silence up to 30 s, as it was trained, or
        "short" for silence up to the next whole second, which takes much less time.

    Raises:
      FileNotFoundError: if the checkpoint is not here, with the command to fetch it.
      ValueError: if its family is not known, or it has no such option.
    """
    from jser.encoders import checkpoints, layer_selection
    from jser.encoders.options import Options

    options = Options(
        layer=layer_selection.canonical(layer),
        dtype=dtype,
        backend=backend,
        compat=compat,
        context=context,
    )
    options.check("the encoder", "")
    model = checkpoints.find(checkpoint, options)
    options.check("FACodec", model.model_type)
    return model.encoder(options)
