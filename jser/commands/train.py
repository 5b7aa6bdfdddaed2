"""Trains one experiment: a member of an ensemble, or one by itself.

  jser train --config demo_logmel_words

Rerun it to resume. Any field can be set: --config.optim.lr=3e-4 --config.seed=1
"""

import json
import pathlib

from jser.commands.shared_flags import ConfigFlags, RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "The experiment.")
_WORKDIR = FLAGS.optional("workdir", "runs/<name> by default.")
_INIT_FROM = FLAGS.optional("init_from", "Folder of a run to start from, not resume.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    experiment, roots = _CONFIG.experiment(), _ROOTS.value
    from jser.training import train

    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    print(json.dumps(experiment.to_dict(), indent=2))
    state = train.train(
        experiment,
        roots,
        workdir,
        arguments=[*_CONFIG.arguments, *FLAGS.given("init_from")],
        init_from=pathlib.Path(_INIT_FROM.value) if _INIT_FROM.value else None,
    )
    print(f"{workdir or roots.workdir(experiment)}: trained to step {int(state.step)}")
