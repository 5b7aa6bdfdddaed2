"""Whisper-large-v3 x RoBERTa-large, weighted cross-entropy.

python scripts/train.py --config configs/whisper_roberta.py

Published on dev: BS-F1 0.417. Dev macro-F1 0.388, accuracy 0.524. The paper gives lr
1e-4 or 1e-5; all twelve were trained at 1e-5. `:tiny` after the path trains it in
seconds.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.paper(
        "whisper_roberta", speech="whisper_large_v3", text="roberta_large", epochs=20
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
