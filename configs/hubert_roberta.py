"""HuBERT-XL x RoBERTa-large, weighted cross-entropy.

python scripts/train.py --config configs/hubert_roberta.py

Published on dev: BS-F1 0.387. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the path trains it in seconds. HuBERT is the one fine-tuned for
speech recognition, as the authors used it.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.paper(
        "hubert_roberta", speech="hubert_xlarge", text="roberta_large", epochs=30
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
