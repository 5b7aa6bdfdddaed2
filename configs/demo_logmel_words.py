"""Log-mel speech x character n-grams of the words, on the synthetic demo corpus.

jser train --config demo_logmel_words
"""

from jser import recipes


def get_config():
    return recipes.demo("demo_logmel_words", speech="logmel", text="char_ngrams")
