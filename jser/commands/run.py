"""Runs a whole ensemble from its table to the report, skipping what is done.

  jser run --config ensemble_demo --jobs 2

Or a member once for each seed, with the mean and deviation of its scores, and average:

  jser run --config demo_logmel_words --seeds 0,1,2
"""

from jser.commands.shared_flags import ConfigFlags, RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "An ensemble, or a member with --seeds.", seeds=True)
_JOBS = FLAGS.integer("jobs", 1, "Trainings at a time.", lower_bound=1)
_TOGETHER = FLAGS.switch(
    "together", "Train runs of like shapes in one step; for accelerators."
)
_RESIDENT = FLAGS.switch(
    "resident", "Keep all frames on the devices; for accelerators where they fit."
)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    config, roots = _CONFIG.ensemble(), _ROOTS.value
    from jser import pipeline
    from jser.training import tuned

    tuned.refuse_unread(config.members, roots.weights)
    page = pipeline.run(
        config,
        roots,
        jobs=_JOBS.value,
        at_once=_TOGETHER.value,
        resident=_RESIDENT.value,
        arguments=_CONFIG.arguments + roots.weights_arguments() + roots.arguments(),
    )
    print(page.with_name("results.md").read_text(encoding="utf-8"))
    print(page)
