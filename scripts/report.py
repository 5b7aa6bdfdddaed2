"""Scores an ensemble and its members: runs/<ensemble>/report.html, results.json, .md.

python scripts/report.py --config configs/ensemble_demo.py
"""

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file("config", help_string="The ensemble.")
flags.mark_flag_as_required("config")


def main() -> None:
    from jser import ensemble

    config, roots = _CONFIG.value.check(), shared_flags.roots()
    page = ensemble.write_report(config, roots)
    print(page.with_name("results.md").read_text(encoding="utf-8"))
    print(page)


if __name__ == "__main__":
    shared_flags.run(main)
