"""How long 10,000 resamples of MSP-Podcast's dev split take.

python benchmarks/bootstrap.py
"""

import time

import numpy as np

from jser.statistics import bootstrap

UTTERANCES, SPEAKERS, CLASSES = 25_258, 700, 8


def main() -> None:
    """Prints seconds of each function, with and without clusters."""
    rng = np.random.default_rng(0)
    label, a, b = rng.integers(0, CLASSES, (3, UTTERANCES))
    speaker = rng.integers(0, SPEAKERS, UTTERANCES)
    for function, columns, arguments in (
        (bootstrap.interval, (label, a), {}),
        (bootstrap.interval, (label, a), {"cluster": speaker}),
        (bootstrap.compare, (label, a, b), {}),
        (bootstrap.compare, (label, a, b), {"cluster": speaker}),
        (bootstrap.balanced_subsets, (label, a), {}),
    ):
        start = time.perf_counter()
        function(*columns, CLASSES, **arguments)
        seconds = time.perf_counter() - start
        by = f" by {SPEAKERS} speakers" if arguments else ""
        print(f"{function.__name__}{by}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
