"""Log-mel speech x character n-grams of the words, on the synthetic demo corpus.

python scripts/train.py --config configs/demo_logmel_words.py
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.demo("demo_logmel_words", speech="logmel", text="char_ngrams")
    return recipes.tiny(exp) if arg == "tiny" else exp
