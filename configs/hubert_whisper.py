"""Whisper-large-v3 x HuBERT-XL, no words, weighted cross-entropy.

jser train --config hubert_whisper

Published on dev: BS-F1 0.347. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "hubert_whisper", whisper="whisper_large_v3", hubert="hubert_xlarge", epochs=30
    )
