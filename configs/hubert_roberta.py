"""HuBERT-XL x RoBERTa-large, weighted cross-entropy.

jser train --config hubert_roberta

Published on dev: BS-F1 0.387. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds. HuBERT is the one fine-tuned for
speech recognition, as the authors used it.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "hubert_roberta", speech="hubert_xlarge", text="roberta_large", epochs=30
    )
