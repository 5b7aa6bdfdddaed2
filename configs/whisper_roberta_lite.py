"""Whisper-small x RoBERTa-base: encoders that a laptop can run. Not of the paper.

python scripts/extract.py --table data/mine --frontend whisper_small,roberta_base
python scripts/train.py --config configs/whisper_roberta_lite.py

For a corpus of your own add `--config.data.corpus=mine`.
"""

from jser import recipes


def get_config(arg: str | None = None):
    exp = recipes.paper(
        "whisper_roberta_lite", speech="whisper_small", text="roberta_base", epochs=20
    )
    return recipes.tiny(exp) if arg == "tiny" else exp
