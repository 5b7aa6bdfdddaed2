"""How sure a score is: intervals, paired tests and balanced subsets, on the host.

A score depends on the confusion counts alone, so what is drawn is counts, never rows:
10,000 resamples of 25,258 utterances take seconds (benchmarks/bootstrap.py).
"""

from collections.abc import Iterable, Iterator
import dataclasses
import math

from jaxtyping import Int
import numpy as np

from jser.statistics import metrics

_LEVEL = (2.5, 97.5)  # Percentiles of a 95 % interval.
_CHUNK = 2**22  # Numbers drawn at a time.


def interval(
    label: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    classes: int,
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of all `metrics.SCORES`.

    Args:
      label: True classes.
      predicted: Predicted classes.
      classes: C.
      cluster: What is drawn as a whole, such as each utterance's speaker: utterances of
        one voice stand or fall together, and an interval that draws them one by one is
        too narrow. None draws utterances.
      resamples: Number of draws with replacement.
      seed: Of the draws.

    Returns:
      Lower and upper bound by score.

    Raises:
      ValueError: if labels are held back, or there are fewer than two clusters.
    """
    rng = np.random.default_rng(seed)
    units = _units(classes, cluster, label, predicted)
    counts = units.confusion(1, classes)
    drawn = _scores(w @ counts for w in units.redrawn(rng, resamples))
    return {name: _percentiles(values) for name, values in drawn.items()}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Of two systems on the same utterances, by one score."""

    difference: float  # Of b over a.
    interval: tuple[float, float]  # 95 %, by the paired bootstrap.
    p_bootstrap: float  # Two-sided; below 0.05 where the interval leaves out 0.
    p_randomization: float  # Two-sided, of approximate randomisation.


def compare(
    label: Int[np.ndarray, " N"],
    predicted_a: Int[np.ndarray, " N"],
    predicted_b: Int[np.ndarray, " N"],
    classes: int,
    *,
    cluster: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Whether system b differs from system a by more than chance, for all scores.

    The paired bootstrap draws utterances with both systems' predictions; its p is
    twice the share of draws on the other side of 0. Approximate randomisation (Noreen
    1989; Yeh 2000) swaps the two predictions of an utterance by the toss of a coin; its
    p is the share of tosses whose difference is at least as large as the one observed.
    The former asks how large the difference is in other utterances, the latter whether
    the systems are interchangeable. Both count the data themselves as one more draw, so
    that p is never 0.

    Args:
      label: True classes.
      predicted_a: What the first system predicts.
      predicted_b: What the second one does.
      classes: C.
      cluster: What is drawn and swapped as a whole, such as each utterance's speaker.
      resamples: Number of draws, and of swaps.
      seed: Of both.

    Raises:
      ValueError: if labels are held back, or there are fewer than two clusters.
    """
    rng = np.random.default_rng(seed)
    units = _units(classes, cluster, label, predicted_a, predicted_b)
    of_a, of_b = units.confusion(1, classes), units.confusion(2, classes)
    gain = of_b - of_a  # What a swap moves from b to a.
    all_a, all_b = units.times @ of_a, units.times @ of_b
    observed = _differences([(all_a[None], all_b[None])])
    redrawn = _differences((w @ of_a, w @ of_b) for w in units.redrawn(rng, resamples))
    swapped = _differences(
        (all_a + w @ gain, all_b - w @ gain) for w in units.tossed(rng, resamples)
    )
    return {
        name: Comparison(
            difference=float(observed[name][0]),
            interval=_percentiles(redrawn[name]),
            p_bootstrap=_two_sided(redrawn[name]),
            p_randomization=_as_extreme(swapped[name], observed[name][0]),
        )
        for name in metrics.SCORES
    }


@dataclasses.dataclass(frozen=True)
class BalancedSubsets:
    """Macro-F1 on balanced subsets, as published ("BS-F1")."""

    scores: np.ndarray  # Float, S.
    per_class: int  # Utterances drawn of each class.
    mean: float
    low: float  # The lowest of the S scores ...
    high: float  # ... and the highest: a range of subsets, not an interval.


def balanced_subsets(
    label: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    classes: int,
    *,
    per_class: int = 200,
    subsets: int = 100,
) -> BalancedSubsets:
    """The published score: mean macro-F1 of balanced subsets, and their range.

    Subset i holds `per_class` utterances of each class, drawn without replacement as
    pandas' `sample(n=per_class, random_state=i)` draws them from the rows of the class.
    The order of the rows matters, that of the classes does not. Subsets overlap, so
    their range says little of how sure the mean is: use `interval` for that.

    Args:
      label: True classes.
      predicted: Predicted classes.
      classes: C.
      per_class: Utterances of each class; fewer, and the same of all, where the rarest
        class that occurs has fewer.
      subsets: Number of subsets; their seeds are 0, 1 and so on.

    Raises:
      ValueError: if labels are held back.
    """
    occurring = np.flatnonzero(metrics.confusion(label, predicted, classes).sum(axis=1))
    predicted_of = {c: np.asarray(predicted)[label == c] for c in occurring}
    drawn = min(per_class, *(len(rows) for rows in predicted_of.values()))
    counts = np.zeros((subsets, classes, classes))
    for seed in range(subsets):
        for c, rows in predicted_of.items():
            chosen = np.random.RandomState(seed).choice(len(rows), drawn, replace=False)
            counts[seed, c] = np.bincount(rows[chosen], minlength=classes)
    scores = metrics.macro_f1(counts)
    return BalancedSubsets(
        scores=scores,
        per_class=drawn,
        mean=float(scores.mean()),
        low=float(scores.min()),
        high=float(scores.max()),
    )


@dataclasses.dataclass(frozen=True)
class _Units:
    """What is drawn: utterances of the same cell, or clusters."""

    cells: np.ndarray  # Int, cells columns: combinations of label and predictions.
    counts: np.ndarray  # Float, units cells: the utterances in one such unit.
    times: np.ndarray  # Int, units: how many of the kind there are.

    def confusion(self, column: int, classes: int) -> np.ndarray:
        """Confusion counts of each unit, [units, C C], by one of the predictions."""
        onto = np.eye(classes**2)[self.cells[:, 0] * classes + self.cells[:, column]]
        return self.counts @ onto

    def redrawn(self, rng: np.random.Generator, resamples: int) -> Iterator[np.ndarray]:
        """How often each unit is drawn, with replacement; [chunk, units] at a time."""
        total = self.times.sum()
        for chunk in self._chunks(resamples):
            yield rng.multinomial(total, self.times / total, size=chunk).astype(float)

    def tossed(self, rng: np.random.Generator, resamples: int) -> Iterator[np.ndarray]:
        """How many of each unit a fair coin picks; [chunk, units] at a time."""
        for chunk in self._chunks(resamples):
            size = (chunk, len(self.times))
            yield rng.binomial(self.times, 0.5, size=size).astype(float)

    def _chunks(self, resamples: int) -> list[int]:
        size = max(1, _CHUNK // len(self.times))
        return [min(size, resamples - done) for done in range(0, resamples, size)]


def _units(classes: int, cluster: np.ndarray | None, *columns: np.ndarray) -> _Units:
    """Of the columns label and predictions, each [N]."""
    for predicted in columns[1:]:
        metrics.confusion(columns[0], predicted, classes)  # Refuses held-back labels.
    cells, cell = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    cell = cell.ravel()
    if cluster is None:
        # Utterances of one cell are alike: drawing them is drawing cells.
        return _Units(cells, np.eye(len(cells)), np.bincount(cell))
    names, unit = np.unique(np.asarray(cluster), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"one cluster alone, {names[0]!r}: there is nothing to draw.")
    flat = np.bincount(unit * len(cells) + cell, minlength=len(names) * len(cells))
    counts = flat.reshape(len(names), len(cells)).astype(float)
    return _Units(cells, counts, np.ones(len(names), int))


def _scores(chunks: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """All scores of flat confusion counts, which come as [chunk, C C]."""
    scores = {name: [] for name in metrics.SCORES}
    for flat in chunks:
        classes = math.isqrt(flat.shape[-1])
        counts = flat.reshape(-1, classes, classes)
        for name, score in metrics.SCORES.items():
            scores[name].append(score(counts))
    return {name: np.concatenate(parts) for name, parts in scores.items()}


def _differences(
    chunks: Iterable[tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Scores of b less those of a; both come as flat confusion counts."""
    differences = {name: [] for name in metrics.SCORES}
    for pair in chunks:
        a, b = (_scores([flat]) for flat in pair)
        for name, parts in differences.items():
            parts.append(b[name] - a[name])
    return {name: np.concatenate(parts) for name, parts in differences.items()}


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, _LEVEL)
    return float(low), float(high)


def _two_sided(differences: np.ndarray) -> float:
    """Twice the rarer side of 0, each side with one draw more."""
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(differences)))


def _as_extreme(differences: np.ndarray, observed: float) -> float:
    """Share of differences as far from 0 as `observed`, which counts as one of them."""
    as_far = np.abs(differences) >= abs(observed) - 1e-12
    return (1 + int(as_far.sum())) / (1 + len(differences))
