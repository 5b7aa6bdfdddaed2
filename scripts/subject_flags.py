"""What evaluate and report share: which runs they are of."""

import pathlib

from absl import flags
from ml_collections import config_flags
import shared_flags

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="An ensemble, or a member with --seeds."
)
_SEEDS = flags.DEFINE_list("seeds", [], "Seeds of a member: 0,1,2")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of a single run, in place of those.")
_PRIOR = flags.DEFINE_enum(
    "target_prior", None, ["uniform"], "Score under this class prior, too."
)


def subject():
    """What is to be scored, and the folder it is written to."""
    if not (_CONFIG.value or _WORKDIR.value):
        raise ValueError("give --config or --workdir.")
    from jser import recipes
    from jser.report import subjects

    roots = shared_flags.roots()
    if _WORKDIR.value:
        folder = pathlib.Path(_WORKDIR.value)
        inputs = subjects.of_run(folder, roots)
    else:
        config = recipes.over_seeds(_CONFIG.value, _SEEDS.value).check()
        folder = roots.runs / config.name
        inputs = subjects.of_ensemble(config, roots)
    if _PRIOR.value:
        inputs = subjects.with_uniform(inputs, folder)
    return inputs, folder
