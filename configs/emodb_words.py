"""A negative control: words alone, where every sentence is said in every emotion.

jser train --config emodb_words

Add --config.data.holdout="(0,)" to leave out the first speaker. Anything it says
above chance, 1/7, would be a leak.
"""

from jser import recipes


def get_config():
    exp = recipes.emodb("emodb_words", text="char_ngrams")
    exp.optim.lr, exp.epochs = 1e-3, 10
    return exp
