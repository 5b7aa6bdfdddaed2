"""Log-mel speech x words x prosody, three streams, on the synthetic demo corpus.

python scripts/train.py --config configs/demo_logmel_prosody_words.py
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.demo(
        "demo_logmel_prosody_words",
        speech="logmel",
        text="char_ngrams",
        prosody="prosody",
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
