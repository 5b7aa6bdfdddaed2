"""Whisper-large-v3 x RoBERTa-large, soft-margin loss.

jser train --config whisper_roberta_sml

Published on dev: BS-F1 0.410. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "whisper_roberta_sml",
        speech="whisper_large_v3",
        text="roberta_large",
        epochs=20,
        soft_margin=True,
    )
