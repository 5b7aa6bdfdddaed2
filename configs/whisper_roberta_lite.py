"""Whisper-small x RoBERTa-base: encoders that a laptop can run. Not of the paper.

jser extract --table data/mine --frontend whisper_small,roberta_base
jser train --config whisper_roberta_lite

For a corpus of your own add `--config.data.corpus=mine`.
"""

from jser import recipes


def get_config():
    return recipes.paper(
        "whisper_roberta_lite", speech="whisper_small", text="roberta_base", epochs=20
    )
