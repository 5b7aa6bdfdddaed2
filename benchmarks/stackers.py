"""What each kind of stacker makes of simulated members; docs/stack.md quotes it.

Five members see one latent space, each with errors of its own; classes are as frequent
as in MSP-Podcast. Scored on as uneven a set (macro-F1, UAR) and on a balanced one.

python benchmarks/stackers.py --draws 5
"""

import argparse
from unittest import mock

import numpy as np

from jser.ensemble import combiners, stacking
from jser.ensemble.logits import Logits
from jser.statistics import metrics

TRAIN = np.array((6731, 6306, 16717, 2948, 1120, 1432, 2495, 29243)) // 16
DEV = np.array((5836, 2341, 6344, 987, 326, 542, 1459, 7423)) // 4
TEST = np.full(8, 400)
MEMBERS, WIDTH = 5, 10
KINDS = tuple(k for k in combiners.SETTINGS if k != "paper")


class World:
    """Classes in a latent space, and members that each know a part of it."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.mean = 0.6 * rng.standard_normal((8, WIDTH))
        self.noise = rng.uniform(0.7, 1.5, MEMBERS)
        self.heard = self.mean * (rng.random((MEMBERS, 1, WIDTH)) < 0.7)
        self.loudness = rng.uniform(0.7, 2.5, MEMBERS)

    def spoken(self, counts: np.ndarray) -> stacking.Joined:
        """Logits of utterances of about 30 to a speaker."""
        rng, label = self.rng, self.rng.permutation(np.repeat(np.arange(8), counts))
        N = len(label)
        speaker = rng.integers(0, N // 30, N)
        voice = 0.4 * rng.standard_normal((N // 30, WIDTH))[speaker]
        latent = self.mean[label] + voice + rng.standard_normal((N, WIDTH))
        said = {}
        for m in range(MEMBERS):
            found = latent + self.noise[m] * rng.standard_normal(latent.shape)
            to_class = self.heard[m] / (1 + self.noise[m] ** 2)
            logits = found @ to_class.T - 0.5 * (self.heard[m] * to_class).sum(1)
            said[f"member {m}"] = Logits(
                utt_id=np.array([f"u{i:06d}" for i in range(N)]),
                logits=(self.loudness[m] * logits).astype(np.float32),
                label=label,
                fold=np.zeros(N, int),
                speaker=np.array([f"s{k}" for k in speaker]),
                in_sample=np.zeros(N, bool),
                speaker_seen=np.zeros(N, bool),
                labels=np.arange(8).astype(str),
                made_by=np.array([f"member{m}"]),
            )
        return stacking.join(said)


def main() -> None:
    """Prints the mean over draws of the world, and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    rows: dict[str, list[list[float]]] = {}
    for seed in range(arguments.draws):
        world = World(np.random.default_rng(seed))
        train, dev, test = map(world.spoken, (TRAIN, DEV, TEST))

        def score(name, say, dev=dev, test=test):
            dev_scores, test_scores = (
                metrics.scores(x.first.label, say(x).logits.argmax(1), 8)
                for x in (dev, test)
            )
            found = [dev_scores["macro_f1"], dev_scores["uar"], test_scores["macro_f1"]]
            rows.setdefault(name, []).append(found)

        score("average", stacking.average)
        for kind in arguments.kinds:
            fitted = stacking.fit(kind, train, seed)
            score(kind, lambda x, fitted=fitted: stacking.apply(fitted, x))
        # The alternative to drawing: all rows, weighted.
        with mock.patch.object(stacking, "_FEWEST", 10**9):
            fitted = stacking.fit("oof", train, seed)
        name = "oof, all rows weighted"
        score(name, lambda x, fitted=fitted: stacking.apply(fitted, x))
    print(f"{'':24} macro-F1        UAR             macro-F1, balanced")
    for name, found in rows.items():
        mean = np.mean(found, axis=0)
        error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
        print(f"{name:24} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
