"""The encoders of a model that learned, for PEFT and transformers. docs/tuning.md.

    <member>/adapter_config.json, adapter_model.safetensors   PEFT's format
    <member>/merged/                                          a checkpoint

Of an encoder that was tuned as a whole there is the checkpoint alone.
"""

import pathlib

import jax

from jser.config_rules import LORA
from jser.recognizer.bundle import Bundle
from jser.recognizer.frames import Weights, refuse_other_encoder
from jser.training import adapter_files, lora, tuned
from jser.training.tuned import ENCODER


def save(bundle: Bundle, folder: pathlib.Path, weights: Weights) -> list[pathlib.Path]:
    """Writes what each member's encoder learned.

    Args:
      bundle: The model.
      folder: Where to.
      weights: Checkpoints of the encoders as they were before, by front end, where not
        the hub's.

    Raises:
      FileNotFoundError: if such a checkpoint is not here.
      ValueError: if it is another one, or no encoder learned.
    """
    written = []
    for member in bundle.members:
        c = member.experiment
        encoder = tuned.open(c, weights, begins=False)
        if encoder is None:
            continue
        refuse_other_encoder(bundle.encoders[c.tune.encoder], encoder, weights)
        where, learned = folder / c.name, member.variables["params"][ENCODER]
        learned = jax.device_get(learned)
        if c.tune.how == LORA:
            adapter = lora.Adapter(learned, c.tune.alpha / c.tune.rank)
            base = bundle.encoders[c.tune.encoder]["model"]
            params, naming = encoder.frozen, encoder.naming
            adapter_files.write(where, adapter, params, naming, base)
            adapter_files.write_merged(
                where / "merged", adapter, params, naming, encoder.folder
            )
        else:
            adapter_files.write_tuned(
                where / "merged", learned, encoder.naming, encoder.folder
            )
        written += [p for p in sorted(where.rglob("*")) if p.is_file()]
    if not written:
        raise ValueError(f"{bundle.name}: none of its encoders learned.")
    return written
