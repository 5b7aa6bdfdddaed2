"""Whisper-large-v3 x DeBERTa-v2, soft-margin loss.

jser train --config whisper_deberta_sml

Published on dev: BS-F1 0.404. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds.

The paper says DeBERTa XXL (48 layers); the authors' command extracts
`deberta-v2-xlarge` (24). Both are 1536 wide; which made the numbers cannot be told.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "whisper_deberta_sml",
        speech="whisper_large_v3",
        text="deberta_xxlarge",
        epochs=20,
        soft_margin=True,
    )
