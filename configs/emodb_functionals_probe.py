"""A linear probe on functionals, leave-one-speaker-out on EMO-DB.

jser train --config emodb_functionals_probe

The features: jser extract --table data/emodb --frontend functionals.trimmed
Add --config.data.holdout="(0,)" to leave out the first speaker. As emodb_whisper_probe.
"""

from jser import recipes


def get_config():
    exp = recipes.load("emodb_whisper_probe")
    exp.name = "emodb_functionals_probe"
    exp.data.streams = {"speech": "functionals.trimmed"}
    return exp
