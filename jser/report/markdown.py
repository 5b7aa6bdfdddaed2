"""Results in words: `results.md`, and the figures of a line of it."""

from collections.abc import Mapping
from typing import Any

from jser.corpora.utterances import ATTRIBUTES
from jser.report import captions
from jser.statistics import metrics

INTERVAL = (
    "95 % percentile bootstrap interval, drawn over speakers where the split has five"
    " or more, else over utterances"
)
BS_F1 = (
    "BS-F1: mean macro-F1 of 100 balanced subsets, n utterances of each class; in"
    " brackets the lowest and the highest of them, which is no interval"
)


def of(results: Mapping[str, Any]) -> str:
    """The tables of results as Markdown."""
    lines = [f"# {results['name']}", ""]
    choice = captions.choice(results)
    told = [f"{choice}."] if choice else []
    told += captions.better(results) + captions.cautions(results)
    lines += [f"> {note}\n" for note in (*told, *results["notes"])]
    lines += [
        "| split | system | macro-F1 | UAR | accuracy | BS-F1 |",
        "|---|---|---|---|---|---|",
    ]
    for split in results["splits"]:
        for system, by_split in results["systems"].items():
            if split in by_split:
                cells = [with_interval(by_split[split], s) for s in metrics.SCORES]
                cells.append(bs_f1(by_split[split]))
                lines.append(f"| {split} | {system} | {' | '.join(cells)} |")
    lines += ["", f"In brackets: {INTERVAL}. {BS_F1}.", ""]
    lines += _heard(results, "distribution") + _heard(results, "attributes")
    lines += _combinations(results) + _seeds(results) + _comparisons(results)
    return "\n".join(
        [*lines, "To reproduce:", "", "```", *results["commands"], "```", ""]
    )


HEARD = {
    "distribution": (
        "Probabilities against the raters' votes: divergences in bits, less is better;"
        " macro-F1 of all emotions above a share of 1 / C in either"
    ),
    "attributes": "Attributes: concordance (CCC) with the raters' mean",
}
HEARD_NAMES = {
    "jensen_shannon": "Jensen-Shannon",
    "kullback_leibler": "Kullback-Leibler",
    "several_f1": "several emotions",
    **{name: name for name in ATTRIBUTES},
}


def _heard(results: Mapping[str, Any], kind: str) -> list[str]:
    """A table of the scores against what raters said, if there are any."""
    rows, names = [], []
    for split in results["splits"]:
        for system, by_split in results["systems"].items():
            if found := by_split.get(split, {}).get(kind):
                names = list(found)
                cells = [value_with_interval(found[name]) for name in names]
                rows.append(f"| {split} | {system} | {' | '.join(cells)} |")
    if not rows:
        return []
    head = " | ".join(HEARD_NAMES[name] for name in names)
    columns = "---|" * (len(names) + 2)
    return [
        f"{HEARD[kind]}:",
        "",
        f"| split | system | {head} |",
        f"|{columns}",
        *rows,
        "",
    ]


def value_with_interval(heard: Mapping[str, Any]) -> str:
    """A score and, in brackets, its interval, if there is one."""
    if heard["interval"] is None:
        return f"{heard['value']:.3f}"
    low, high = heard["interval"]
    return f"{heard['value']:.3f} [{low:.3f}, {high:.3f}]"


def _combinations(results: Mapping[str, Any]) -> list[str]:
    combinations = captions.combinations(results)
    if not combinations:
        return []
    lines = [f"* `{system}`: {what}." for system, what in combinations.items()]
    out_of_fold = captions.out_of_fold(results)
    return [*lines, *(["", f"{out_of_fold}."] if out_of_fold else []), ""]


def _seeds(results: Mapping[str, Any]) -> list[str]:
    if not results["seeds"]:
        return []
    lines = [
        "| split | config | seeds | macro-F1 | UAR | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for config, over in results["seeds"].items():
        for split, scores in over["splits"].items():
            cells = [f"{scores[s]['mean']:.3f} ± {scores[s]['sd']:.3f}" for s in scores]
            n = len(over["systems"])
            lines.append(f"| {split} | {config} | {n} | {' | '.join(cells)} |")
    return [*lines, "", "Mean ± standard deviation over seeds.", ""]


def _comparisons(results: Mapping[str, Any]) -> list[str]:
    if not results["comparisons"]:
        return []
    lines = [
        f"* {c['split']}: {c['system']} over {c['rival']}:"
        f" {difference(c['scores']['macro_f1'])}"
        for c in results["comparisons"]
    ]
    return ["Macro-F1 gained, with its paired 95 % interval:", "", *lines, ""]


def difference(compared: Mapping[str, Any]) -> str:
    """A difference with its interval and both p."""
    low, high = compared["interval"]
    return (
        f"{compared['difference']:+.3f} [{low:+.3f}, {high:+.3f}],"
        f" p = {compared['p_bootstrap']:.2g} (paired bootstrap),"
        f" {compared['p_randomization']:.2g} (randomisation)"
    )


def with_interval(scores: Mapping[str, Any], score: str) -> str:
    """A score and, in brackets, its interval: over speakers, if there is one."""
    low, high = (scores["interval_by_speaker"] or scores["interval"])[score]
    return f"{scores[score]:.3f} [{low:.3f}, {high:.3f}]"


def bs_f1(scores: Mapping[str, Any]) -> str:
    """BS-F1, its range, and how many of each class made a subset.

    Of one subset alone there is no range.
    """
    b = scores["balanced_subsets"]
    if captions.is_one_subset(scores):
        return f"{b['mean']:.3f} n={b['per_class']}, one subset"
    return f"{b['mean']:.3f} [{b['low']:.3f}, {b['high']:.3f}] n={b['per_class']}"
