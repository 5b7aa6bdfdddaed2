"""Trains one ensemble member; see the docstring of any file in configs/.

  python scripts/train.py --config configs/demo_logmel_words.py

Rerun it to resume. Any field can be set: --config.optim.lr=3e-4 --config.seed=1
"""

import json
import pathlib

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="The experiment.")
_WORKDIR = flags.DEFINE_string("workdir", None, "runs/<name> by default.")
flags.mark_flag_as_required("config")


def main() -> None:
    from jser.training import train

    experiment, roots = _CONFIG.value.check(), shared_flags.roots()
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    print(json.dumps(experiment.to_dict(), indent=2))
    state = train.train(experiment, roots, workdir)
    print(f"{workdir or roots.workdir(experiment)}: trained to step {int(state.step)}")


if __name__ == "__main__":
    shared_flags.run(main)
