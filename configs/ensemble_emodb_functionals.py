"""Two networks on functionals of EMO-DB, leave-one-speaker-out; nothing is fetched.

  jser prepare --corpus emodb --source DIR --out data/emodb --split loso
  jser run --config ensemble_emodb_functionals --together

Silence at both ends is cut, as it has to be for recordings of others. It is the recipe
of the model `emodb-functionals`: 110 runs, of seconds each.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = ("emodb_functionals_trimmed", "emodb_functionals_probe")


def get_config():
    return Ensemble(
        name="ensemble_emodb_functionals",
        members=tuple(recipes.load(name) for name in MEMBERS),
        stacker="scaled_average",
    )
