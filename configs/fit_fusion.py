"""A small gated network, for `jser fit`.

jser train --config fit_fusion

Set corpus and features as `jser fit` does, which prints how. As emodb_functionals, with
the layers of an encoder side by side.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_functionals")
    exp.name, exp.data.corpus = "fit_fusion", "mine"
    exp.model.layers = "beside"
    return exp
