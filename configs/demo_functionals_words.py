"""Statistics of the sound x character n-grams of the words, on the demo corpus.

python scripts/train.py --config configs/demo_functionals_words.py

The demo corpus is synthetic. On a few hundred utterances the statistics teach a network
more than frames do.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.demo(
        "demo_functionals_words", speech="functionals", text="char_ngrams"
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
