"""What one more candidate would make of stacker "chosen"; docs/stack.md quotes it.

Simulated members as in benchmarks/stackers.py, and some that are alike. Each candidate
is fitted once and chosen by its macro-F1 out of fold; told is by how much macro-F1 and
UAR on an uneven set and macro-F1 on a balanced one rise, over the choice without it.
The forest takes most of the time and is left out.

python -m benchmarks.candidates --draws 10
"""

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.stackers import DEV, TEST, TRAIN, World
from jser.ensemble import stacking
from jser.ensemble.logits import Logits
from jser.statistics import metrics

ACTED = np.array((127, 81, 69, 71, 62, 79, 46, 40))  # About as EMO-DB has, of 8.
BASE, MORE = ("scaled_average", "best_member"), ("average", "greedy", "meta")
# Counts of train and of the uneven test, and how far apart the classes lie.
SETS = {
    "uneven": (TRAIN, DEV, 1.0),
    "uneven, an eighth": (TRAIN // 8, DEV, 1.0),
    "acted": (ACTED, 4 * ACTED, 2.0),
}


def world(seed: int, apart: float, alike: bool) -> World:
    """Members that differ, or are alike in noise, in loudness and in what they hear."""
    made = World(np.random.default_rng(seed))
    made.mean, made.heard = apart * made.mean, apart * made.heard
    if alike:
        made.noise[:], made.heard[:], made.loudness[:] = 1.0, made.mean, 1.0
    return made


def candidates(
    train: stacking.Joined, tests: Sequence[stacking.Joined], seed: int
) -> dict[str, tuple[float, list[float]]]:
    """By kind, macro-F1 out of fold and the three scores."""
    said = {"average": tuple(map(stacking.average, (train, *tests)))}
    held_out = {"average": _scores(said["average"][0])}
    for kind in (*BASE, *MORE[1:]):
        fitted = stacking.fit(kind, train, seed)
        held_out[kind] = fitted.held_out
        said[kind] = tuple(stacking.apply(fitted, x) for x in (train, *tests))
    found = {}
    for kind, (_, *on_tests) in said.items():
        uneven, balanced = map(_scores, on_tests)
        told = [uneven["macro_f1"], uneven["uar"], balanced["macro_f1"]]
        found[kind] = held_out[kind]["macro_f1"], told
    return found


def _scores(said: Logits) -> dict[str, float]:
    return metrics.scores(said.label, said.logits.argmax(1), 8)


def main() -> None:
    """Prints mean differences, their standard errors and how often it was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    draws = range(parser.parse_args().draws)
    for name, (counts, uneven, apart) in SETS.items():
        for alike in (False, True):
            print(f"{name}, members that {'are alike' if alike else 'differ'}")
            every = []
            for seed in draws:
                of = world(seed, apart, alike)
                train, *tests = map(of.spoken, (counts, uneven, TEST))
                every.append(candidates(train, tests, seed))
            for more in MORE:
                _tell(more, every)


def _tell(more: str, every: list[dict[str, tuple[float, list[float]]]]) -> None:
    """An average is named first, any other kind last: of equals the first."""
    among = (more, *BASE) if more == "average" else (*BASE, more)
    won, gains = 0, []
    for found in every:
        before, after = (max(c, key=lambda k: found[k][0]) for c in (BASE, among))
        won += after == more
        gains.append(np.subtract(found[after][1], found[before][1]))
    mean, error = np.mean(gains, axis=0), np.std(gains, axis=0, ddof=1)
    cells = zip(mean, error / np.sqrt(len(every)), strict=True)
    told = "   ".join(f"{m:+.4f} ± {e:.4f}" for m, e in cells)
    print(f"  {more:10} {told}   chosen in {won} of {len(every)}", flush=True)


if __name__ == "__main__":
    main()
