"""Whisper-large-v3 x RoBERTa-large x FACodec prosody, soft-margin loss.

jser train --config whisper_roberta_facodec_sml

Published on dev: BS-F1 0.391. The paper gives lr 1e-4 or 1e-5; all twelve were trained
at 1e-5. `:tiny` after the name trains it in seconds.

The paper says prosody and timbre, 512 columns; its numbers were made by prosody alone,
256. The front end `facodec` makes both.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "whisper_roberta_facodec_sml",
        speech="whisper_large_v3",
        text="roberta_large",
        prosody="facodec_prosody",
        epochs=20,
        soft_margin=True,
    )
