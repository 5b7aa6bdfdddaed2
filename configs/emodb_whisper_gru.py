"""Frames of Whisper base and a bi-GRU, leave-one-speaker-out on EMO-DB.

jser train --config emodb_whisper_gru

The features: jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.every5
Add --config.data.holdout="(0,)" to leave out the first speaker. A frame is
the mean of a tenth of a second; the weights of the layers are learned.
"""

from jser import recipes


def get_config():
    exp = recipes.emodb("emodb_whisper_gru", speech="whisper_base@2-4.trimmed.every5")
    exp.optim.mix_rate = 30.0
    return exp
