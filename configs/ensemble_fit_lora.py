"""What `jser fit --tune lora` makes: a frozen encoder's network, and one that learned.

  jser run --config ensemble_fit_lora --config.data.corpus=mine

The mean of both speaks: nothing is chosen, so that each is tuned once for each fold.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = ("fit_frozen", "fit_lora")


def get_config():
    members = tuple(recipes.load(name) for name in MEMBERS)
    return Ensemble(name="ensemble_fit_lora", members=members, stacker="average")
