"""Whisper-large-v3 x RoBERTa-large, weighted cross-entropy.

jser train --config whisper_roberta

Published on dev: BS-F1 0.417. Dev macro-F1 0.388, accuracy 0.524. The paper gives lr
1e-4 or 1e-5; all twelve were trained at 1e-5. `:tiny` after the name trains it in
seconds.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "whisper_roberta", speech="whisper_large_v3", text="roberta_large", epochs=20
    )
