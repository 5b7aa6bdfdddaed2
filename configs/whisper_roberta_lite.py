"""Whisper-small x RoBERTa-base: encoders that a laptop can run. Not of the paper.

jser extract --table data/mine --frontend whisper_small,roberta_base
jser train --config whisper_roberta_lite

For a corpus of your own add `--config.data.corpus=mine`. Both streams are standardised;
`--config.data.standardize=` leaves them as they are, as the paper does.
"""

from jser import recipes


def get_config():
    exp = recipes.paper(
        "whisper_roberta_lite", speech="whisper_small", text="roberta_base", epochs=20
    )
    exp.data.standardize = recipes.scaled(exp.data.streams)
    return exp
