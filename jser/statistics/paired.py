"""What one system gains over another, over several seeds of both, with an interval.

A score is taken as a function of sums over utterances: macro-F1 of confusion counts, a
mean of values and their number, a correlation of moments. No JAX here.
"""

from collections.abc import Callable, Sequence
import dataclasses

from jaxtyping import Float, Int
import numpy as np

from jser.statistics import metrics

_LEVEL = (2.5, 97.5)  # Percentiles of a 95 % interval.
_CHUNK = 2**22  # Numbers drawn at a time.


@dataclasses.dataclass(frozen=True)
class Measure:
    """A score of one system: what each utterance adds, and what the sums amount to."""

    rows: Float[np.ndarray, "N K"]
    score: Callable[[np.ndarray], np.ndarray]  # Of sums [*n, K], gives [*n].


@dataclasses.dataclass(frozen=True)
class Gain:
    """Of system b over system a, by one score; means over the seeds."""

    a: float
    b: float
    difference: float
    interval: tuple[float, float]  # 95 %.
    by_seed: tuple[float, ...]  # The difference of each.


def confusions(
    label: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int
) -> dict[str, Measure]:
    """All of `metrics.SCORES` as measures.

    Raises:
      ValueError: if labels are held back.
    """
    metrics.confusion(label, predicted, classes)  # Refuses held-back labels.
    rows = np.eye(classes**2)[np.asarray(label) * classes + predicted]
    return {
        name: Measure(rows, lambda sums, score=score: score(_square(sums, classes)))
        for name, score in metrics.SCORES.items()
    }


def _square(sums: np.ndarray, classes: int) -> np.ndarray:
    return sums.reshape(*sums.shape[:-1], classes, classes)


def gain(
    a: Sequence[Measure],
    b: Sequence[Measure],
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Gain:
    """The mean over the seeds of what b gains, with its paired 95 % interval.

    Utterances, or clusters of them, are drawn with replacement; one that is drawn
    brings the answers of both systems by all seeds. So the interval is about other
    utterances or speakers, with these seeds; about other seeds `by_seed` tells.

    Args:
      a: Of the first system, one a seed; all on the same utterances in one order.
      b: Of the second system, by the same seeds.
      cluster: What is drawn as a whole, such as each utterance's speaker. None draws
        utterances.
      resamples: Number of draws.
      seed: Of the draws.

    Raises:
      ValueError: if there are fewer than two clusters.
    """
    count = len(a[0].rows)
    names, unit = np.unique(
        np.arange(count) if cluster is None else cluster, return_inverse=True
    )
    if len(names) < 2:
        raise ValueError(
            f"one cluster alone, {str(names[0])!r}: there is nothing to draw."
        )
    pairs = [
        ((x, _by_unit(x, unit, len(names))), (y, _by_unit(y, unit, len(names))))
        for x, y in zip(a, b, strict=True)
    ]

    def scores(times: np.ndarray) -> np.ndarray:
        """By system, seed and draw, where units are drawn so many `times`."""
        both = zip(*pairs, strict=True)
        return np.array([[x.score(times @ sums) for x, sums in one] for one in both])

    observed = scores(np.ones((1, len(names))))[..., 0]
    rng, drawn = np.random.default_rng(seed), []
    size = max(1, _CHUNK // len(names))
    for done in range(0, resamples, size):
        chunk = min(size, resamples - done)
        share = np.full(len(names), 1 / len(names))
        of_a, of_b = scores(
            rng.multinomial(len(names), share, size=chunk).astype(float)
        )
        drawn.append((of_b - of_a).mean(axis=0))
    low, high = np.percentile(np.concatenate(drawn), _LEVEL)
    by_seed = observed[1] - observed[0]
    return Gain(
        a=float(observed[0].mean()),
        b=float(observed[1].mean()),
        difference=float(by_seed.mean()),
        interval=(float(low), float(high)),
        by_seed=tuple(by_seed.tolist()),
    )


def _by_unit(measure: Measure, unit: np.ndarray, units: int) -> np.ndarray:
    """What each unit adds, [units, K]."""
    sums = np.zeros((units, measure.rows.shape[1]))
    np.add.at(sums, unit, measure.rows)
    return sums
