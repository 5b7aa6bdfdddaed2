"""Turns a PyTorch checkpoint of the paper's authors into a run, or a run into one.

python scripts/convert.py --config configs/whisper_roberta.py --checkpoint ser.pt
python scripts/convert.py --workdir runs/whisper_roberta --out ser.safetensors
"""

import pathlib

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="What it was trained by."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Theirs: .pt or .safetensors.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run; runs/<name> by default.")
_OUT = flags.DEFINE_string("out", None, "Write a state dict of --workdir there.")


def main() -> None:
    from jser.training import convert

    if _OUT.value and _WORKDIR.value:
        state = convert.from_run(pathlib.Path(_WORKDIR.value))
        convert.write_state(pathlib.Path(_OUT.value), state)
        print(f"{_OUT.value}: {sum(x.size for x in state.values())} parameters")
        return
    if not (_CONFIG.value and _CHECKPOINT.value):
        raise ValueError("give --config and --checkpoint, or --workdir and --out.")
    experiment, roots = _CONFIG.value.check(), shared_flags.roots()
    workdir = pathlib.Path(_WORKDIR.value or roots.workdir(experiment))
    state = convert.read_state(pathlib.Path(_CHECKPOINT.value))
    scores = convert.to_run(experiment, roots, state, workdir)
    print(f"{workdir}: {' '.join(f'dev {k} {v:.4f}' for k, v in scores.items())}")


if __name__ == "__main__":
    shared_flags.run(main)
