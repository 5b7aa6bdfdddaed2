"""As emodb_prosody, with the soft-margin loss on a neutral head too.

python scripts/train.py --config configs/emodb_prosody_sml.py

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config(arg: str | None = None):
    (exp,) = recipes.siblings(__file__, ("emodb_prosody",))
    exp.name = "emodb_prosody_sml"
    exp.loss.neutral_weight = 1.0
    return recipes.tiny(exp) if arg == "tiny" else exp
