"""Statistics of the sound x character n-grams of the words, on the demo corpus.

jser train --config demo_functionals_words

The demo corpus is synthetic. On a few hundred utterances the statistics teach a network
more than frames do.
"""

from jser import recipes


def get_config():
    return recipes.demo(
        "demo_functionals_words", speech="functionals", text="char_ngrams"
    )
