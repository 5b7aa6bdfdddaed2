"""Says what levers are worth: trains a config with and without each, by seeds.

  jser ablate --config demo_logmel_words --levers "mixup; focal" --seeds 0,1,2
  jser ablate --config demo_logmel_words --levers "slow: optim.lr=*0.1, epochs=30"

A lever is one of those known, of which `--levers all` takes those that apply, or a name
and the fields it sets. What is trained already is not trained again.
"""

import shlex

from jser.commands.shared_flags import ConfigFlags, RootFlags, TrainingsFlags, numbers
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(FLAGS, "The experiment without a lever.")
_LEVERS = FLAGS.required(
    "levers",
    "all; or names and levers of your own, 'mixup; slow: optim.lr=*0.1, epochs=30'; or"
    " a file of them, a line each: levers.txt.",
)
_SEEDS = FLAGS.strings("seeds", "By which all are trained. Default: 0,1,2.")
_SPLIT = FLAGS.string(
    "split", "", "To score on. Default: test where its labels are known, else dev."
)
_FOLDS = FLAGS.strings("folds", "Of a cross-validated table. Default: all.")
_TRAININGS = TrainingsFlags(FLAGS)
_ROOTS = RootFlags(FLAGS, weights=True)


def main() -> None:
    config, roots = _CONFIG.experiment(), _ROOTS.value
    seeds = numbers("seeds", _SEEDS.value) or (0, 1, 2)
    folds = numbers("folds", _FOLDS.value)
    from jser import ablation
    from jser.corpora import tables
    from jser.training import tuned

    table = tables.read(roots.data / config.data.corpus)
    protocol = ablation.Protocol.of(config, table, _SPLIT.value, folds)
    asked = ablation.Ablation.of(config, table, _LEVERS.value or "", seeds, protocol)
    every = [config, *(experiment for _, experiment in asked.levers.values())]
    tuned.refuse_unread(every, roots.weights)
    for name, why in asked.skipped.items():
        print(f"left out, {name}: {why}", flush=True)
    folder = ablation.run(
        asked,
        roots,
        **_TRAININGS.options,
        command=shlex.join(["jser", "ablate", *FLAGS.given()]),
    )
    print((folder / "ablation.md").read_text(encoding="utf-8"))
    print(folder / "ablation.svg")
