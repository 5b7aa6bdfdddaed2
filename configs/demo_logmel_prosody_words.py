"""Log-mel speech x words x prosody, three streams, on the synthetic demo corpus.

jser train --config demo_logmel_prosody_words
"""

from jser import recipes


def get_config():
    return recipes.demo(
        "demo_logmel_prosody_words",
        speech="logmel",
        text="char_ngrams",
        prosody="prosody",
    )
