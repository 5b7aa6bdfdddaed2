"""Whisper base learns with LoRA on one's own corpus, for `jser fit --tune lora`.

jser train --config fit_lora

Set the corpus as `jser fit` does, which prints how; train fit_frozen first, with whose
network it starts. As emodb_whisper_lora.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_lora")
    exp.name, exp.data.corpus, exp.init_from = "fit_lora", "mine", "fit_frozen"
    return exp
