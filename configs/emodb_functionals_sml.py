"""As emodb_functionals, with the soft-margin loss on a neutral head too.

jser train --config emodb_functionals_sml

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_functionals")
    exp.name = "emodb_functionals_sml"
    exp.loss.neutral_weight = 1.0
    return exp
