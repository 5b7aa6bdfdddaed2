"""Runs a whole ensemble from its table to the report, skipping what is done.

  python scripts/run.py --config configs/ensemble_demo.py --jobs 2

Or a member once for each seed, with the mean and deviation of its scores, and average:

  python scripts/run.py --config configs/demo_logmel_words.py --seeds 0,1,2
"""

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="An ensemble, or a member with --seeds."
)
_SEEDS = flags.DEFINE_list("seeds", [], "Seeds of a member: 0,1,2")
_JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at a time.", lower_bound=1)
_TOGETHER = flags.DEFINE_bool(
    "together", False, "Train runs of like shapes in one step; for accelerators."
)
flags.mark_flag_as_required("config")


def main() -> None:
    from jser import pipeline, recipes

    config, roots = (
        recipes.over_seeds(_CONFIG.value, _SEEDS.value),
        shared_flags.roots(),
    )
    page = pipeline.run(
        config.check(), roots, jobs=_JOBS.value, at_once=_TOGETHER.value
    )
    print(page.with_name("results.md").read_text(encoding="utf-8"))
    print(page)


if __name__ == "__main__":
    shared_flags.run(main)
