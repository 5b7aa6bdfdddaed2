"""Encodes a table's utterances: features/<corpus>/<front end>/.

  python scripts/extract.py --table data/emodb --frontend logmel

Rerun it after a cut: finished shards are kept. On n machines give each its --shard i/n.
"""

import pathlib
import sys
from typing import Any

from absl import flags
import shared_flags

_TABLE = flags.DEFINE_string("table", None, "Folder of the table.", required=True)
_FRONTEND = flags.DEFINE_list("frontend", None, "One or more names.", required=True)
_MODEL = (
    flags.DEFINE_string("weights", None, "Checkpoint folder, or id on the hub."),
    flags.DEFINE_string("layer", "last", "last, mean_last_4, all, or its number."),
    flags.DEFINE_string("dtype", "float32", "Computed in this, or in bfloat16."),
    flags.DEFINE_string("backend", "jax", "jax, or torch for transformers' own code."),
    flags.DEFINE_bool("compat", False, "Frames as the paper's authors made them."),
)
_SHARD = flags.DEFINE_string("shard", "1/1", "i/n: the i-th of n shares of the work.")
_WORKERS = flags.DEFINE_integer("workers", None, "Processes; all cores by default.")
_BEAM = flags.DEFINE_string("beam", None, "Encode by Beam with these options of its.")
_MAX_FAILURES = flags.DEFINE_integer("max_failures", 0, "Utterances that may fail.")
_VERIFY = flags.DEFINE_bool("verify", False, "Only read and check every record.")


def main() -> None:
    from jser.corpora import tables
    from jser.features import frontends, store, verify
    from jser.features.extract import PartsMissing, extract, parse_share

    table, root = tables.read(pathlib.Path(_TABLE.value)), shared_flags.roots().features
    model: dict[str, Any] = {flag.name: flag.value for flag in _MODEL}
    for name in _FRONTEND.value:
        if _VERIFY.value:
            folder = store.dataset_folder(root, table.folder.resolve().name, name)
            if faults := verify.verify(folder):
                sys.exit("\n".join([*faults, f"error: {folder}: {len(faults)} faults"]))
            print(f"{folder}: every record is as it was written")
            continue
        try:
            found = extract(
                table,
                frontends.open(name, **model),
                root,
                workers=_WORKERS.value,
                max_failures=_MAX_FAILURES.value,
                share=parse_share(_SHARD.value),
                beam=_BEAM.value,
            )
        except PartsMissing as e:
            print(e)
        else:
            print(found.describe())


if __name__ == "__main__":
    shared_flags.run(main)
