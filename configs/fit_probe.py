"""A linear probe on what one utterance's frames are in the mean, for `jser fit`.

jser train --config fit_probe

Set corpus and features as `jser fit` does, which prints how. As emodb_whisper_probe.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_probe")
    exp.name, exp.data.corpus = "fit_probe", "mine"
    exp.data.streams = {"speech": "functionals"}
    return exp
