"""A gated network on pooled Whisper base, leave-one-speaker-out on EMO-DB.

  jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.pooled
  jser train --config emodb_whisper_fusion

Add --config.data.holdout="(0,)" to leave out the first speaker. As emodb_functionals,
on what an encoder has heard.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_functionals")
    exp.name = "emodb_whisper_fusion"
    exp.data.streams = {"speech": "whisper_base@2-4.trimmed.pooled"}
    exp.model.layers = "beside"
    return exp
