"""Looks for the fields of a config that score best, in trials.

  jser sweep --config demo_logmel_words --trials 20 \
      --space "optim.lr=log:1e-4:1e-2,loss.kind=cross_entropy|focal"

The same command goes on with what is there; several may run at a time. A trial is
scored on the dev split or, where there is none, out of fold over folds that --holdout
does not name. Needs: pip install "jser[sweep]"
"""

from jser.commands.shared_flags import ConfigFlags, RootFlags, numbers
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "The experiment to begin with.")
_SPACE = FLAGS.required(
    "space",
    "Fields and what they may be: optim.lr=log:1e-5:1e-3,augment.mixup=0:0.4,loss.kind="
    "cross_entropy|focal; or a file with get_fields(trial): space.py.",
)
_TRIALS = FLAGS.integer("trials", 20, "How many in all.", lower_bound=1)
_HOLDOUT = FLAGS.strings(
    "holdout", "Folds that no trial may see: 0,1. Default: data.holdout."
)
_JOBS = FLAGS.integer("jobs", 1, "Trials at a time.", lower_bound=1)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    config, roots = _CONFIG.experiment(), _ROOTS.value
    holdout = numbers("holdout", _HOLDOUT.value)
    try:
        from jser import sweeping
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] != "optuna":
            raise
        raise ValueError(
            'sweep: it needs Optuna: pip install "jser[sweep]" brings it.'
        ) from e
    from jser.training import tuned

    tuned.refuse_unread([config], roots.weights)
    sweep = sweeping.Sweep.of(config, _SPACE.value or "", _TRIALS.value, roots, holdout)
    arguments = [*_CONFIG.arguments, *roots.weights_arguments(), *roots.arguments()]
    folder = sweeping.run(sweep, jobs=_JOBS.value, arguments=arguments)
    print((folder / "sweep.md").read_text(encoding="utf-8"))
