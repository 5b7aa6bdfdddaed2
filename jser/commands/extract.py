r"""Encodes a table's utterances: features/<corpus>/<front end>/.

  jser extract --table data/emodb --frontend logmel
  jser extract --table data/emodb --frontend whisper_base@all.trimmed.pooled
  jser extract --table data/mine --frontend array --source words.npz \
      --name bert_words --kind text

Rerun it after a cut: finished shards are kept. On n machines give each its --shard i/n.
"""

from collections.abc import Sequence
import pathlib
import sys
import typing
from typing import Any

from jser.commands.shared_flags import RootFlags
from jser.commands.verb_flags import VerbFlags
from jser.feature_names import FeatureName

if typing.TYPE_CHECKING:
    from jser.corpora.tables import Table
    from jser.features.frontends import FrontEnd

FLAGS = VerbFlags()
_TABLE = FLAGS.required("table", "Folder of the table.")
_FRONTEND = FLAGS.required("frontend", "One or more names, as logmel,char_ngrams.")
_WEIGHTS = FLAGS.optional(
    "weights",
    "Checkpoint folder, or id on the hub; of several front ends, as"
    " hubert=DIR,roberta=DIR.",
)
_MODEL = (
    FLAGS.string("layer", "last", "Its number, 2-4, 1,3,6, mean_last_4, all or last."),
    FLAGS.string("dtype", "float32", "Computed in this, or in bfloat16."),
    FLAGS.string("backend", "jax", "jax, or torch for transformers' own code."),
    FLAGS.switch("compat", "Frames as the paper's authors made them."),
    FLAGS.optional("context", "What Whisper reads: full (30 s) or short."),
)
_ARRAY = (
    FLAGS.optional("source", "Of array: a folder of .npy, a .npz or .safetensors."),
    FLAGS.optional("name", "Of array: what its features are called."),
    FLAGS.optional("kind", "Of array: speech or text, what they were made of."),
)
_SHARD = FLAGS.string("shard", "1/1", "i/n: the i-th of n shares of the work.")
_WORKERS = FLAGS.integer("workers", 0, "Processes; 0 for one a core.")
_BEAM = FLAGS.optional("beam", "Encode by Beam with these options of its.")
_MAX_FAILURES = FLAGS.integer("max_failures", 0, "Utterances that may fail.")
_MAX_HOURS = FLAGS.integer("max_hours", 4, "The longest sound; longer ones fail.")
_VERIFY = FLAGS.switch("verify", "Only read and check every record.")
_ROOTS = RootFlags(FLAGS)


def main() -> None:
    from jser.corpora import tables
    from jser.features import frontends, store, verify
    from jser.features.extract import PartsMissing, extract, parse_share

    table, root = tables.read(pathlib.Path(_TABLE.value)), _ROOTS.value.features
    model: dict[str, Any] = {flag.name: flag.value for flag in _MODEL}
    names = [name.strip() for name in _FRONTEND.value.split(",")]
    weights = _weights(names)
    if "array" not in names and any(flag.value for flag in _ARRAY):
        raise ValueError("--source, --name and --kind are for --frontend=array.")

    def open_(name: str) -> frontends.FrontEnd:
        return frontends.open(name, weights=weights.get(name), **model)

    for name in names:
        if _VERIFY.value:
            folder = store.dataset_folder(root, table.folder.resolve().name, name)
            if faults := verify.verify(folder):
                sys.exit("\n".join([*faults, f"error: {folder}: {len(faults)} faults"]))
            print(f"{folder}: every record is as it was written")
            continue
        try:
            features = extract(
                table,
                _array(table) if name == frontends.ARRAY else open_(name),
                root,
                workers=_WORKERS.value or None,
                max_failures=_MAX_FAILURES.value,
                max_hours=_MAX_HOURS.value,
                share=parse_share(_SHARD.value),
                beam=_BEAM.value,
            )
        except PartsMissing as e:
            print(e)
        else:
            print(features.describe())


def _array(table: "Table") -> "FrontEnd":
    from jser.features import arrays

    source, name, kind = (flag.value for flag in _ARRAY)
    if not (source and name and kind):
        raise ValueError("--frontend=array needs --source, --name and --kind.")
    return arrays.front_end(table, source, name=name, kind=kind)


def _weights(names: Sequence[str]) -> dict[str, str]:
    """The checkpoints by name of the features that are to be made with them."""
    given = _WEIGHTS.value
    if not given:
        return {}
    if "=" not in given:
        if len(names) > 1:
            raise ValueError(
                f"--weights={given}: of which front end? Say"
                f" --weights={names[0]}={given}."
            )
        return {names[0]: given}
    pairs = {}
    for pair in given.split(","):
        name, _, folder = pair.partition("=")
        pairs[name] = folder
    # By the features' whole name, or without what comes behind the front end's.
    short = {name: _without_layer(name) for name in names}
    if odd := set(pairs) - {*short, *short.values()}:
        raise ValueError(
            f"--weights: {sorted(odd)[0]!r} is not one of --frontend, which are"
            f" {', '.join(names)}."
        )
    found = {n: pairs.get(n) or pairs.get(short[n]) for n in names}
    return {name: folder for name, folder in found.items() if folder}


def _without_layer(name: str) -> str:
    named = FeatureName.parse(name)
    return str(FeatureName(front_end=named.front_end, tag=named.tag))
