"""What fit_lora starts with: the same network, on stored frames of Whisper base.

jser train --config fit_frozen

Set the corpus as `jser fit --tune lora` does, which prints how. As
emodb_whisper_fusion.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_fusion")
    exp.name, exp.data.corpus = "fit_frozen", "mine"
    return exp
