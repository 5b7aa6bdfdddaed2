"""Two members and a stacker on EMO-DB, leave-one-speaker-out, nothing pretrained.

  python scripts/prepare.py --corpus emodb --source DIR --out data/emodb --split loso
  python scripts/run.py --config configs/ensemble_emodb.py --jobs 2

For the stacker each member is trained without every pair of speakers too: 110 runs.
"""

from jser import config as cfg
from jser import recipes

MEMBERS = ("emodb_functionals", "emodb_prosody")


def get_config():
    return cfg.Ensemble(
        name="ensemble_emodb", members=recipes.siblings(__file__, MEMBERS)
    )
