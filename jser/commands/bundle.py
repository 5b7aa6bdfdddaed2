"""Makes one folder of a trained run or ensemble, to be used and handed on.

  jser bundle --config ensemble_demo --out my-model
  jser bundle --workdir runs/demo_logmel_words --out my-model
  jser recognize my.wav --model my-model

It holds no utterance and no pickle. --push sends it to the Hugging Face hub.
"""

import pathlib

from jser.commands.shared_flags import ConfigFlags, RootFlags, WeightsFlag
from jser.commands.verb_flags import VerbFlags

FLAGS = VerbFlags()
_CONFIG = ConfigFlags(
    FLAGS, "An ensemble, or a member with --seeds.", seeds=True, required=False
)
_WORKDIR = FLAGS.optional("workdir", "Of a single run, in place of those.")
_OUT = FLAGS.required("out", "Folder of the model; it is named by it.")
_WEIGHTS = WeightsFlag(FLAGS)
_LICENSE = FLAGS.optional("license", "Of the model, for its card: cc-by-4.0.")
_LANGUAGE = FLAGS.optional("language", "Codes, for its card: de,en.")
_CAUTION = FLAGS.optional("caution", "A line that comes with every answer.")
_PUSH = FLAGS.optional("push", "Send it to the hub as <owner>/<name>.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    if bool(_CONFIG.given) == bool(_WORKDIR.value):
        raise ValueError("give --config or --workdir, one of them.")
    from jser.recognizer import bundle, making, model_card, publishing

    if _PUSH.value:
        publishing.check(_PUSH.value, _LICENSE.value)
    out = pathlib.Path(_OUT.value)
    if _WORKDIR.value:
        ensemble = making.of_run(pathlib.Path(_WORKDIR.value))
    else:
        ensemble = _CONFIG.ensemble()
    flags = {"license": _LICENSE, "language": _LANGUAGE, "caution": _CAUTION}
    made = making.make(
        ensemble,
        _ROOTS.value,
        name=out.resolve().name,
        weights=_WEIGHTS.value,
        told={k: f.value for k, f in flags.items() if f.value},
    )
    made.save(out)
    size = sum(p.stat().st_size for p in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB, digest {made.digest}; {out / bundle.CARD}")
    print(model_card.example(made, str(out)))
    if _PUSH.value:
        print(publishing.push(out, _PUSH.value))
