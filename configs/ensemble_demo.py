"""Three members on the synthetic demo corpus, and a stacker over their logits.

  jser run --config ensemble_demo --jobs 2

`make demo` makes the corpus first and then runs this.
"""

from jser import recipes
from jser.config import Ensemble

MEMBERS = (
    "demo_logmel_words",
    "demo_functionals_words",
    "demo_logmel_prosody_words",
)


def get_config():
    members = tuple(recipes.load(name) for name in MEMBERS)
    return Ensemble(name="ensemble_demo", members=members, stacker="oof")
