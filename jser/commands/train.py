"""Trains one experiment: a member of an ensemble, or one by itself.

  jser train --config demo_logmel_words

Rerun it to resume. Any field can be set: --config.optim.lr=3e-4 --config.seed=1
"""

import json
import pathlib

from jser.commands.shared_flags import ConfigFlags, RootFlags, resident_flag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "The experiment.")
_WORKDIR = FLAGS.optional("workdir", "runs/<name> by default.")
_INIT_FROM = FLAGS.optional("init_from", "Folder of a run to start from, not resume.")
_COORDINATOR = FLAGS.optional(
    "coordinator",
    "Where several processes train one run, each on its rows of the batches: host:port"
    " of the first; auto on SLURM, Cloud TPU and Open MPI.",
)
_PROCESSES = FLAGS.integer("processes", 0, "How many; not with auto.")
_PROCESS_ID = FLAGS.integer("process_id", 0, "Of this one, from 0; not with auto.")
_RESIDENT = resident_flag(FLAGS)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    experiment, roots = _CONFIG.experiment(), _ROOTS.value
    from jser import devices
    from jser.training import train, tuned

    tuned.refuse_unread([experiment], roots.weights)

    if FLAGS.given("processes", "process_id") and not _COORDINATOR.value:
        raise ValueError("--processes, --process_id: they need a --coordinator.")
    if _COORDINATOR.value:
        devices.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS_ID.value)
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
    print(json.dumps(experiment.to_dict(), indent=2))
    state = train.train(
        experiment,
        roots,
        workdir,
        arguments=[*_CONFIG.arguments, *FLAGS.given("init_from", "weights")],
        init_from=pathlib.Path(_INIT_FROM.value) if _INIT_FROM.value else None,
        resident=_RESIDENT.value,
    )
    print(f"{workdir or roots.workdir(experiment)}: trained to step {int(state.step)}")
