"""Statistics of MFCC and prosody over the utterance, leave-one-speaker-out on EMO-DB.

jser train --config emodb_functionals

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config():
    exp = recipes.emodb("emodb_functionals", speech="functionals")
    exp.model.hidden, exp.augment.mixup = 64, 0.4
    exp.optim.lr, exp.epochs = 1e-3, 40
    return exp
