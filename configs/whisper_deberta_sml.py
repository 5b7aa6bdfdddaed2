"""Whisper-large-v3 x DeBERTa-v2, soft-margin loss.

python scripts/train.py --config configs/whisper_deberta_sml.py

Published on dev: BS-F1 0.404. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the path trains it in seconds.

The paper says DeBERTa XXL (48 layers); the authors' command extracts
`deberta-v2-xlarge` (24). Both are 1536 wide; which made the numbers cannot be told.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.paper(
        "whisper_deberta_sml",
        speech="whisper_large_v3",
        text="deberta_xxlarge",
        epochs=20,
        soft_margin=True,
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
