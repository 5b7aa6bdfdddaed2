"""Runs a whole ensemble from its table to the report, skipping what is done.

  jser run --config ensemble_demo --jobs 2

Or a member once for each seed, with the mean and deviation of its scores, and average:

  jser run --config demo_logmel_words --seeds 0,1,2
"""

from jser.commands.shared_flags import ConfigFlags, RootFlags, TrainingsFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "An ensemble, or a member with --seeds.", seeds=True)
_TRAININGS = TrainingsFlags(FLAGS)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    config, roots = _CONFIG.ensemble(), _ROOTS.value
    from jser import pipeline
    from jser.training import tuned

    tuned.refuse_unread(config.members, roots.weights)
    page = pipeline.run(
        config,
        roots,
        **_TRAININGS.options,
        arguments=_CONFIG.arguments + roots.weights_arguments() + roots.arguments(),
    )
    print(page.with_name("results.md").read_text(encoding="utf-8"))
    print(page)
