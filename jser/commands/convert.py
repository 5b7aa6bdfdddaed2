"""Turns a PyTorch checkpoint of the paper's authors into a run, or a run into one.

jser convert --config whisper_roberta --checkpoint ser.pt
jser convert --workdir runs/whisper_roberta --out ser.safetensors
"""

import pathlib

from jser.commands.shared_flags import ConfigFlags, RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "What it was trained by.", required=False)
_CHECKPOINT = FLAGS.optional("checkpoint", "Theirs: .pt or .safetensors.")
_WORKDIR = FLAGS.optional("workdir", "The run; runs/<name> by default.")
_OUT = FLAGS.optional("out", "Write a state dict of --workdir there.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    from jser.training import convert

    if _OUT.value and _WORKDIR.value:
        state = convert.from_run(pathlib.Path(_WORKDIR.value))
        convert.write_state(pathlib.Path(_OUT.value), state)
        print(f"{_OUT.value}: {sum(x.size for x in state.values())} parameters")
        return
    if not (_CONFIG.given and _CHECKPOINT.value):
        raise ValueError("give --config and --checkpoint, or --workdir and --out.")
    experiment, roots = _CONFIG.experiment(), _ROOTS.value
    workdir = pathlib.Path(_WORKDIR.value or roots.workdir(experiment))
    state = convert.read_state(pathlib.Path(_CHECKPOINT.value))
    scores = convert.to_run(experiment, roots, state, workdir)
    print(f"{workdir}: {' '.join(f'dev {k} {v:.4f}' for k, v in scores.items())}")
