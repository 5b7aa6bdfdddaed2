"""A negative control: words alone, where every sentence is said in every emotion.

python scripts/train.py --config configs/emodb_words.py

Add --config.data.holdout="(0,)" to leave out the first speaker. Anything it says
above chance, 1/7, would be a leak.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.emodb("emodb_words", text="char_ngrams")
    exp.optim.lr, exp.epochs = 1e-3, 10
    return recipes.tiny(exp) if arg == "tiny" else exp
