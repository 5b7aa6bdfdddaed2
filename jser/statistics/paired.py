"""What one system gains over another, over several seeds of both, with an interval.

And the interval of any such score of one system.

A score is taken as a function of sums over utterances: macro-F1 of confusion counts, a
mean of values and their number, a correlation of moments. No JAX here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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

    @property
    def value(self) -> float:
        """Of all utterances."""
        return float(self.score(self.rows.sum(axis=0, keepdims=True))[0])

    @classmethod
    def mean(cls, values: Float[np.ndarray, " N"]) -> "Measure":
        """The mean of a value that each utterance has."""
        rows = np.stack([values, np.ones_like(values)], axis=1)
        return cls(rows, lambda sums: sums[..., 0] / sums[..., 1])


@dataclasses.dataclass(frozen=True)
class Gain:
    """Of system b over system a, by one score; means over the seeds."""

    a: float
    b: float
    difference: float
    interval: tuple[float, float]  # 95 %.
    by_seed: tuple[float, ...]  # The difference of each.


def intervals(
    measures: Mapping[str, Measure],
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of scores of the same utterances, by the same draws.

    Arguments and errors are those of `gain`.
    """
    count = len(next(iter(measures.values())).rows)
    unit, units = _drawn(count, cluster)
    sums = {name: _by_unit(m, unit, units) for name, m in measures.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for times in _redrawn(units, resamples, seed):
        for name, measure in measures.items():
            drawn[name].append(measure.score(times @ sums[name]))
    found = {}
    for name, scores in drawn.items():
        low, high = np.percentile(np.concatenate(scores), _LEVEL)
        found[name] = float(low), float(high)
    return found


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
    unit, units = _drawn(len(a[0].rows), cluster)
    pairs = [
        ((x, _by_unit(x, unit, units)), (y, _by_unit(y, unit, units)))
        for x, y in zip(a, b, strict=True)
    ]

    def scores(times: np.ndarray) -> np.ndarray:
        """By system, seed and draw, where units are drawn so many `times`."""
        both = zip(*pairs, strict=True)
        return np.array([[x.score(times @ sums) for x, sums in one] for one in both])

    observed = scores(np.ones((1, units)))[..., 0]
    drawn = []
    for times in _redrawn(units, resamples, seed):
        of_a, of_b = scores(times)
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


def _drawn(count: int, cluster: np.ndarray | None) -> tuple[np.ndarray, int]:
    """The unit of each utterance that is drawn as a whole, and how many there are."""
    names, unit = np.unique(
        np.arange(count) if cluster is None else cluster, return_inverse=True
    )
    if len(names) < 2:
        raise ValueError(
            f"one cluster alone, {str(names[0])!r}: there is nothing to draw."
        )
    return unit, len(names)


def _redrawn(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn, with replacement; [chunk, units] at a time."""
    rng, size = np.random.default_rng(seed), max(1, _CHUNK // units)
    share = np.full(units, 1 / units)
    for done in range(0, resamples, size):
        chunk = min(size, resamples - done)
        yield rng.multinomial(units, share, size=chunk).astype(float)


def _by_unit(measure: Measure, unit: np.ndarray, units: int) -> np.ndarray:
    """What each unit adds, [units, K]."""
    sums = np.zeros((units, measure.rows.shape[1]))
    np.add.at(sums, unit, measure.rows)
    return sums
