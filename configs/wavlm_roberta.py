"""WavLM-large x RoBERTa-large, weighted cross-entropy.

jser train --config wavlm_roberta

Published on dev: BS-F1 0.392. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "wavlm_roberta", speech="wavlm_large", text="roberta_large", epochs=30
    )
