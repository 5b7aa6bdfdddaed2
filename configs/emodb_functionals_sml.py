"""As emodb_functionals, with the soft-margin loss on a neutral head too.

python scripts/train.py --config configs/emodb_functionals_sml.py

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.emodb("emodb_functionals_sml", speech="functionals")
    exp.model.hidden, exp.augment.mixup = 64, 0.4
    exp.optim.lr, exp.epochs = 1e-3, 40
    exp.loss.neutral_weight = 1.0
    return recipes.tiny(exp) if arg == "tiny" else exp
