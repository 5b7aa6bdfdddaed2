"""Prosody frames and a bi-GRU, leave-one-speaker-out on EMO-DB.

python scripts/train.py --config configs/emodb_prosody.py

Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.emodb("emodb_prosody", speech="prosody")
    return recipes.tiny(exp) if arg == "tiny" else exp
