"""Two networks and two views of Whisper base on EMO-DB, leave-one-speaker-out.

  jser prepare --corpus emodb --source DIR --out data/emodb --split loso
  jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.pooled
  jser extract --table data/emodb --frontend whisper_base@all.trimmed.pooled
  jser run --config ensemble_emodb_whisper --together

The members' probabilities are averaged, each at the temperature that fits it on
training speakers whom it had not heard: 165 runs, of seconds each.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = (
    "emodb_whisper_fusion",
    "emodb_whisper_fusion_all",
    "emodb_whisper_probe_all",
)


def get_config():
    return Ensemble(
        name="ensemble_emodb_whisper",
        members=tuple(recipes.load(name) for name in MEMBERS),
        stacker="scaled_average",
    )
