"""Statistics of MFCC and prosody over the utterance, leave-one-speaker-out on EMO-DB.

python scripts/train.py --config configs/emodb_functionals.py

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.emodb("emodb_functionals", speech="functionals")
    exp.model.hidden, exp.augment.mixup = 64, 0.4
    exp.optim.lr, exp.epochs = 1e-3, 40
    return recipes.tiny(exp) if arg == "tiny" else exp
