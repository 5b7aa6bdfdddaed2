"""What `jser fit` makes of labelled sounds: a linear probe, a network, and the choice.

  jser run --config ensemble_fit --config.data.corpus=mine

Other features than functionals: --config.data.streams=speech=NAME. Whether the mean of
both, the better one or a forest speaks is chosen out of fold, anew for each fold.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = ("fit_probe", "fit_fusion")


def get_config():
    members = tuple(recipes.load(name) for name in MEMBERS)
    return Ensemble(name="ensemble_fit", members=members)
