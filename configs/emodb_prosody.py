"""Prosody frames and a bi-GRU, leave-one-speaker-out on EMO-DB.

jser train --config emodb_prosody

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config():
    return recipes.emodb("emodb_prosody", speech="prosody")
