"""All numbers of one or more systems on their splits, as `results.json` holds them.

No JAX here. docs/report.md gives the shape of the file.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np
from scipy import special
from tqdm import tqdm

import jser
from jser import files
from jser.corpora import tables
from jser.corpora.tables import Table
from jser.ensemble.logits import Logits
from jser.report import comparison, heard, markdown, priors
from jser.statistics import bootstrap, calibration, groups, metrics

SCHEMA = 1  # Of results.json.
FEWEST_OF_SPEAKER = 10  # Utterances, for a speaker's accuracy to be counted.
BINS = 15  # Of the reliability diagram.
_GROUP_RESAMPLES = 2_000  # Enough for a group, of which there are many.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What results and report are made of."""

    name: str  # Of the ensemble or run.
    table: Table
    systems: Mapping[
        str, Mapping[str, Logits]
    ]  # By system, the primary one last; split.
    members: Sequence[str]  # The systems that were trained; the others combine them.
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # Lines of metrics.jsonl.
    commands: Sequence[str]
    seeds: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    stacker: Mapping[str, Any] | None = None  # What stack.json says, and importance.
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)  # By utt_id.
    notes: Sequence[str] = ()  # What a reader must know to read the numbers.
    labels: Sequence[str] = ()  # Of the logits, where not those of the table.


def write(inputs: Inputs, folder: pathlib.Path) -> dict[str, Any]:
    """Writes results.json and results.md into `folder`; returns what the former holds.

    Raises:
      ValueError: if there is no split whose labels are known.
    """
    results = score(inputs)
    files.write_json(folder / "results.json", results)
    files.write_atomically(folder / "results.md", markdown.of(results))
    return results


def score(inputs: Inputs) -> dict[str, Any]:
    """All numbers, as plain values.

    Splits whose labels are held back are named, not scored.
    """
    splits = list(dict.fromkeys(s for x in inputs.systems.values() for s in x))
    held_back = [
        split
        for split in splits
        if any(
            (x[split].label < 0).any() for x in inputs.systems.values() if split in x
        )
    ]
    splits = [s for s in splits if s not in held_back]
    if not splits:
        raise ValueError(f"{inputs.name}: the labels of all its splits are held back.")
    scored = {
        system: {s: x for s, x in by_split.items() if s in splits}
        for system, by_split in inputs.systems.items()
    }
    scores: dict[str, dict[str, Any]] = {system: {} for system in scored}
    pairs = [(system, s) for system, by_split in scored.items() for s in by_split]
    for system, s in tqdm(pairs, desc="scoring systems", unit="split"):
        scores[system][s] = score_split(s, scored[system], inputs.table)
    return {
        "schema": SCHEMA,
        "name": inputs.name,
        "jser": jser.__version__,
        "corpus": _corpus(inputs.table),
        "labels": list(inputs.labels or inputs.table.labels),
        "notes": list(inputs.notes),
        "members": list(inputs.members),
        "splits": splits,
        "held_back": held_back,
        "headline": {"system": list(scored)[-1], "split": _headline(splits)},
        "systems": scores,
        "seeds": _over_seeds(inputs.seeds, scores),
        "comparisons": _comparisons(inputs.members, scored, splits),
        "correlation": {s: _correlation(inputs.members, scored, s) for s in splits},
        "stacker": inputs.stacker,
        "failures": dict(inputs.failures),
        "commands": list(inputs.commands),
    }


def score_split(
    split: str, by_split: Mapping[str, Logits], table: Table
) -> dict[str, Any]:
    """All scores of one system on one split.

    Args:
      split: The one to score.
      by_split: The system's logits on all splits with labels.
      table: Gives gender and length.
    """
    logits = by_split[split]
    classes, predicted = len(logits.labels), logits.logits.argmax(axis=1)
    counts = metrics.confusion(logits.label, predicted, classes)
    names = [str(name) for name in logits.labels]

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        return dict(zip(names, _plain(values), strict=True))

    speakers = comparison.cluster(logits)
    subsets = bootstrap.balanced_subsets(logits.label, predicted, classes)
    return {
        "utterances": len(logits),
        "speakers": len(set(logits.speaker.tolist()) - {""}),
        **metrics.scores(logits.label, predicted, classes),
        "interval": bootstrap.interval(logits.label, predicted, classes),
        "interval_by_speaker": None
        if speakers is None
        else bootstrap.interval(logits.label, predicted, classes, cluster=speakers),
        "precision": by_class(metrics.precision(counts)),
        "recall": by_class(metrics.recall(counts)),
        "f1": by_class(metrics.f1(counts)),
        "count": by_class(counts.sum(axis=1)),
        "confusion": counts.tolist(),
        "balanced_subsets": {
            "per_class": subsets.per_class,
            "mean": subsets.mean,
            "low": subsets.low,
            "high": subsets.high,
            "scores": subsets.scores.tolist(),
        },
        "calibration": _calibration(split, by_split),
        "distribution": heard.scores(heard.distribution(logits, table), speakers),
        "attributes": heard.scores(heard.concordances(logits, table), speakers),
        "groups": _groups(logits, predicted, table),
        "made_by": sorted(set(logits.made_by.tolist())),
    }


def _comparisons(
    members: Sequence[str],
    scored: Mapping[str, Mapping[str, Logits]],
    splits: Sequence[str],
) -> list[dict[str, Any]]:
    """The system primary against its best member and every other combination.

    The best member is the best on the very split: if chance favours anyone, it is him.
    """
    primary = list(scored)[-1]
    comparisons = []
    for split in tqdm(splits, desc=f"comparing {primary}", unit="split"):
        here = {s: x[split] for s, x in scored.items() if split in x and s != primary}
        macro_f1 = {m: _macro_f1(here[m]) for m in members if m in here}
        rivals = [max(macro_f1, key=macro_f1.__getitem__)] if macro_f1 else []
        rivals += [s for s in here if s not in members]
        comparisons += [
            {"split": split, "system": primary, "rival": rival}
            | comparison.of(here[rival], scored[primary][split])
            for rival in rivals
        ]
    return comparisons


def _macro_f1(logits: Logits) -> float:
    predicted = logits.logits.argmax(axis=1)
    return metrics.scores(logits.label, predicted, len(logits.labels))["macro_f1"]


def _over_seeds(
    seeds: Mapping[str, Sequence[str]], scores: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Mean and standard deviation (of the sample) over the seeds of each config."""
    over = {}
    for config, systems in seeds.items():
        over[config] = {"systems": list(systems), "splits": {}}
        for split in scores[systems[0]]:
            values = {
                s: np.array([scores[x][split][s] for x in systems])
                for s in metrics.SCORES
            }
            over[config]["splits"][split] = {
                s: {"mean": float(v.mean()), "sd": float(v.std(ddof=1))}
                for s, v in values.items()
            }
    return over


def _correlation(
    members: Sequence[str], scored: Mapping[str, Mapping[str, Logits]], split: str
) -> list[list[float | None]]:
    """Correlation, between members, of being right; None where one always or never is.

    Members that are wrong on the same utterances have nothing to give each other.
    """
    ordered = [scored[m][split] for m in members]
    ordered = [x.take(np.argsort(x.utt_id)) for x in ordered]
    right = np.array([x.logits.argmax(axis=1) == x.label for x in ordered], float)
    right -= right.mean(axis=1, keepdims=True)
    size = np.sqrt((right**2).sum(axis=1))
    product = size[:, None] * size
    with np.errstate(invalid="ignore", divide="ignore"):
        return [
            _plain(row) for row in np.where(product, right @ right.T / product, np.nan)
        ]


def _calibration(split: str, by_split: Mapping[str, Logits]) -> dict[str, Any]:
    """Whether probabilities are right as often as they say, before and after scaling.

    The temperature is cross-fitted; see `priors.cross_fitting`.
    """
    scored = by_split[split]
    p = special.softmax(scored.logits, axis=1)
    bins = calibration.reliability(p, scored.label, BINS)
    scaled, temperatures = None, []

    def fit(rows: Logits):
        temperatures.append(calibration.fit_temperature(rows.logits, rows.label))
        return lambda logits: calibration.apply_temperature(logits, temperatures[-1])

    if there := priors.cross_fitted(split, by_split, fit):
        place, logits = there
        scaled = {
            "fitted_on": place,
            "temperature": float(np.mean(temperatures)),
            "ece": calibration.ece(special.softmax(logits, axis=1), scored.label, BINS),
        }
    return {
        "ece": calibration.ece(p, scored.label, BINS),
        "bins": [
            {"confidence": float(c), "accuracy": float(a), "count": int(n)}
            for c, a, n in zip(bins.confidence, bins.accuracy, bins.count, strict=True)
            if n
        ],
        "scaled": scaled,
    }


def _groups(logits: Logits, predicted: np.ndarray, table: Table) -> dict[str, Any]:
    """Scores by gender and length, and how far speakers are apart; {} if not known."""
    row = {u.utt_id: u for u in table.utterances}
    rows = [row[u] for u in logits.utt_id.tolist()]
    gender = np.array([u.gender or "not known" for u in rows])
    seconds = np.array([u.seconds or np.nan for u in rows])
    result = {}
    if (gender != "not known").any():
        result["gender"] = _by(gender, logits, predicted)
    if np.isfinite(seconds).all():
        result["length"] = _by(groups.length_bins(seconds), logits, predicted)
    if (logits.speaker != "").all():
        classes = len(logits.labels)
        by = groups.by_group(logits.label, predicted, logits.speaker, classes).values()
        if enough := [g["accuracy"] for g in by if g["n"] >= FEWEST_OF_SPEAKER]:
            names = ("lowest", "quarter", "median", "three_quarters", "highest")
            ends = np.quantile(enough, (0, 0.25, 0.5, 0.75, 1)).tolist()
            spread = dict(zip(names, ends, strict=True))
            result["speaker"] = {"counted": len(enough), **spread}
    return result


def _by(group: np.ndarray, logits: Logits, predicted: np.ndarray) -> dict[str, Any]:
    """Scores of each group, with intervals."""
    classes = len(logits.labels)
    scored: dict[str, Any] = {}
    for name, g in groups.by_group(logits.label, predicted, group, classes).items():
        mine = logits.take(group == name)
        interval = bootstrap.interval(
            mine.label,
            predicted[group == name],
            classes,
            cluster=comparison.cluster(mine),
            resamples=_GROUP_RESAMPLES,
        )
        scored[name] = {**g, "interval": interval}
    return scored


def _corpus(table: Table) -> dict[str, Any]:
    return {
        "name": table.folder.resolve().name,
        "source": table.source,
        "fingerprint": table.fingerprint,
        "split_policy": table.split_policy,
        "utterances": len(table.utterances),
        "hours": sum(u.seconds or 0 for u in table.utterances) / 3600,
        "speakers": len({u.speaker for u in table.utterances if u.speaker}),
        "without_transcript": sum(not u.transcript for u in table.utterances),
        "counts": tables.counts(table),
        "excluded": table.excluded,
    }


def _headline(splits: Sequence[str]) -> str:
    """The split a reader looks for first: a test split, or else the last."""
    tests = [s for s in splits if s.startswith("test")]
    return tests[0] if tests else splits[-1]


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
