"""Three members on the synthetic demo corpus, and a stacker over their logits.

  python scripts/run.py --config configs/ensemble_demo.py --jobs 2

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
    return Ensemble(name="ensemble_demo", members=recipes.siblings(__file__, MEMBERS))
