"""Combines the logits of an ensemble's members: runs/<ensemble>/predictions/.

jser stack --config ensemble_demo
"""

from jser.commands.shared_flags import ConfigFlags, RootFlags
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "An ensemble, or a member with --seeds.", seeds=True)
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    config, roots = _CONFIG.ensemble(), _ROOTS.value
    from jser import pipeline

    pipeline.stack(config, roots)
    print(f"{roots.runs / config.name / 'predictions'}")
