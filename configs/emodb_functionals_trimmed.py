"""As emodb_functionals, of speech without the silence at its ends.

jser train --config emodb_functionals_trimmed

The features: jser extract --table data/emodb --frontend functionals.trimmed
Add --config.data.holdout="(0,)" to leave out the first speaker.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_functionals")
    exp.name = "emodb_functionals_trimmed"
    exp.data.streams = {"speech": "functionals.trimmed"}
    return exp
