"""A gated network on all layers of Whisper base, leave-one-speaker-out on EMO-DB.

jser train --config emodb_whisper_fusion_all

The features: jser extract --table data/emodb --frontend whisper_base@all.trimmed.pooled
Add --config.data.holdout="(0,)" to leave out the first speaker. As
emodb_whisper_fusion.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_fusion")
    exp.name = "emodb_whisper_fusion_all"
    exp.data.streams = {"speech": "whisper_base@all.trimmed.pooled"}
    return exp
