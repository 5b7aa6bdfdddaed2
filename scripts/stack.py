"""Combines the logits of an ensemble's members: runs/<ensemble>/predictions/.

python scripts/stack.py --config configs/ensemble_demo.py
"""

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="The ensemble.")
flags.mark_flag_as_required("config")


def main() -> None:
    from jser.ensemble.combine import combine

    config, roots = _CONFIG.value.check(), shared_flags.roots()
    combine(config, roots)
    print(f"{roots.runs / config.name / 'predictions'}")


if __name__ == "__main__":
    shared_flags.run(main)
