"""As emodb_prosody, with the soft-margin loss on a neutral head too.

jser train --config emodb_prosody_sml

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_prosody")
    exp.name = "emodb_prosody_sml"
    exp.loss.neutral_weight = 1.0
    return exp
