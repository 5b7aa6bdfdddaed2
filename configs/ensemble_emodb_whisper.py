"""Three networks and four views of Whisper base on EMO-DB, leave-one-speaker-out.

  for kind in @2-4.trimmed.pooled @all.trimmed.pooled @2-4.trimmed.every5; do
      jser extract --table data/emodb --frontend whisper_base$kind; done
  jser run --config ensemble_emodb_whisper --together

The members' probabilities are averaged, each at the temperature that fits it on
training speakers whom it had not heard: 220 runs, of seconds each.
"""

from jser import recipes
from jser.config import Ensemble

ALL = "whisper_base@all.trimmed.pooled"


def get_config():
    names = ("emodb_whisper_fusion", "emodb_whisper_probe", "emodb_whisper_gru")
    fusion, probe, gru = (recipes.load(name) for name in names)
    probe.data.streams = {"speech": ALL}
    wide = recipes.load("emodb_whisper_fusion")
    wide.name, wide.data.streams = "emodb_whisper_fusion_all", {"speech": ALL}
    probe.name = "emodb_whisper_probe_all"
    return Ensemble(
        name="ensemble_emodb_whisper",
        members=(fusion, wide, probe, gru),
        stacker="scaled_average",
    )
