"""Two streams x two losses and a stacker on EMO-DB, leave-one-speaker-out.

  jser prepare --corpus emodb --source DIR --out data/emodb --split loso
  jser run --config ensemble_emodb --jobs 2

Nothing is pretrained. For the stacker each member is trained without every pair of
speakers too: 220 runs.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = (
    "emodb_functionals",
    "emodb_prosody",
    "emodb_functionals_sml",
    "emodb_prosody_sml",
)


def get_config():
    members = tuple(recipes.load(name) for name in MEMBERS)
    return Ensemble(name="ensemble_emodb", members=members, stacker="oof")
