"""What a model says of recordings by others, as it is and adapted without labels.

  python -m benchmarks.foreign my-model data/urdu

The table's features by the model's front ends must be there (`jser extract`). Scored
are the utterances whose emotion the model knows, among those emotions; profiles are
learned from n of the recordings, drawn five times, and from all of them.
"""

import argparse
from collections.abc import Sequence
import pathlib

import numpy as np

from jser.corpora import tables
from jser.features import store
from jser.recognizer import bundle
from jser.recognizer.network import Network
from jser.recognizer.profiles import Profile
from jser.statistics import metrics

COUNTS = (2, 4, 8, 16, 32, 64)
DRAWS = 5


def uar_by_recordings(
    model: bundle.Bundle, folder: pathlib.Path, features: pathlib.Path
) -> tuple[list[str], dict[str, list[float]]]:
    """The emotions that model and table share; by what was adapted to, the UARs."""
    table = tables.read(folder)
    name = folder.resolve().name
    sets = {
        n: store.FeatureSet(store.dataset_folder(features, name, n))
        for n in model.front_ends
    }
    shared = [label for label in table.labels if label in model.labels]
    rows = [
        u
        for u in table.utterances
        if u.emotion in shared and all(u.utt_id in f.record for f in sets.values())
    ]
    frames = {
        n: f.read(np.array([f.record[u.utt_id] for u in rows])) for n, f in sets.items()
    }
    label = np.array([shared.index(u.emotion) for u in rows])
    columns, network = [model.labels.index(x) for x in shared], Network(model)

    def uar(profile: Profile | None) -> float:
        p, _ = network(frames, profile)
        predicted = p[:, columns].argmax(axis=1)
        return metrics.scores(label, predicted, len(shared))["uar"]

    rng = np.random.default_rng(0)
    found = {"as it is": [uar(None)]}
    for n in (*(c for c in COUNTS if c < len(rows)), len(rows)):
        draws = DRAWS if n < len(rows) else 1
        picked = [rng.choice(len(rows), n, replace=False) for _ in range(draws)]
        found[f"adapted to {n} of its recordings"] = [
            uar(
                Profile.of(
                    "of these",
                    model.digest,
                    {k: [x[i] for i in rows_] for k, x in frames.items()},
                )
            )
            for rows_ in picked
        ]
    return shared, found


def table_of(
    model: bundle.Bundle, folders: Sequence[pathlib.Path], features: pathlib.Path
) -> str:
    """A Markdown table: a line for each way of adapting, a column for each corpus."""
    columns, ways = [], {}
    for folder in folders:
        shared, found = uar_by_recordings(model, folder, features)
        chance = f"{folder.name}: {', '.join(shared)}; chance {1 / len(shared):.3f}"
        columns.append(chance)
        for way, values in found.items():
            spread = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
            ways.setdefault(way, {})[chance] = f"{np.mean(values):.3f}{spread}"
    lines = [f"| UAR | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for way, cells in ways.items():
        row = [cells.get(c, "") for c in columns]
        lines.append(f"| {way} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("tables", type=pathlib.Path, nargs="+")
    parser.add_argument("--features", type=pathlib.Path, default="features")
    given = parser.parse_args()
    print(table_of(bundle.load(given.model), given.tables, given.features))


if __name__ == "__main__":
    main()
