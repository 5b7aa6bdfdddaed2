"""Two streams x two losses and a stacker on EMO-DB, leave-one-speaker-out.

  python scripts/prepare.py --corpus emodb --source DIR --out data/emodb --split loso
  python scripts/run.py --config configs/ensemble_emodb.py --jobs 2

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
    return Ensemble(name="ensemble_emodb", members=recipes.siblings(__file__, MEMBERS))
