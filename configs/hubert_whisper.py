"""Whisper-large-v3 x HuBERT-XL, no words, weighted cross-entropy.

python scripts/train.py --config configs/hubert_whisper.py

Published on dev: BS-F1 0.347. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the path trains it in seconds.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.paper(
        "hubert_whisper", whisper="whisper_large_v3", hubert="hubert_xlarge", epochs=30
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
