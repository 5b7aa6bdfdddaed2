"""A gated network on pooled Whisper base, leave-one-speaker-out on EMO-DB.

jser train --config emodb_whisper_fusion

The features: jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.pooled
Add --config.data.holdout="(0,)" to leave out the first speaker. As
emodb_functionals, on three layers of an encoder side by side.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_functionals")
    exp.name = "emodb_whisper_fusion"
    exp.data.streams = {"speech": "whisper_base@2-4.trimmed.pooled"}
    exp.model.layers = "beside"
    return exp
