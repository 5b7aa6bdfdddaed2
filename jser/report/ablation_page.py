"""What an ablation found: ablation.json, a table and a picture. No JAX here."""

from collections.abc import Mapping
import pathlib
from typing import Any

from jser import files
from jser.corpora.utterances import ATTRIBUTES
from jser.report import charts
from jser.report.charts import Row

_DIVERGENCE = "jensen_shannon"  # The one of which less is better.
_NAMES = {
    "macro_f1": "macro-F1",
    "uar": "UAR",
    _DIVERGENCE: "divergence from the votes",
    **{name: f"CCC of {name}" for name in ATTRIBUTES},
}


def write(results: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Writes ablation.json, ablation.md and ablation.svg into `folder`."""
    files.write_json(folder / "ablation.json", results)
    files.write_atomically(folder / "ablation.md", table(results))
    files.write_atomically(folder / "ablation.svg", picture(results))


def table(results: Mapping[str, Any]) -> str:
    """The levers, what each gains by each score, and what must be known."""
    scores = list(results["levers"][0]["scores"])
    first = results["levers"][0]["scores"]
    told = ", ".join(f"{_named(s)} {first[s]['a']:.3f}" for s in scores)
    gained = "".join(f" {_gained(s)} |" for s in scores)
    lines = [
        f"# Levers of {results['name']}",
        "",
        f"{_scored_on(results)} Without a lever: {told}.",
        "",
        f"| lever | sets |{gained} macro-F1 gained by seed |",
        "|---|---|" + "---|" * (len(scores) + 1),
    ]
    for lever in results["levers"]:
        sets = "<br>".join(f"`{field}`" for field in lever["fields"])
        gains = "".join(f" {_gain(lever['scores'][s])} |" for s in scores)
        by_seed = ", ".join(f"{x:+.3f}" for x in lever["scores"]["macro_f1"]["by_seed"])
        lines.append(f"| {lever['name']} | {sets} |{gains} {by_seed} |")
    lines += [
        "",
        f"In brackets paired 95 % intervals: {results['drawn']} are drawn, each with"
        " the answers of all seeds with and without the lever. They say what other"
        f" {results['drawn']} would change; what other seeds would, the last column.",
        "",
    ]
    lines += [f"- {note}" for note in results["notes"]]
    lines += [f"- Left out, {name}: {why}" for name, why in results["skipped"].items()]
    if results["command"]:
        lines += ["", "```", results["command"], "```"]
    return "\n".join(lines).rstrip() + "\n"


def picture(results: Mapping[str, Any]) -> str:
    """What each lever gains in macro-F1, as an SVG file."""
    rows = []
    for lever in results["levers"]:
        gain = lever["scores"]["macro_f1"]
        low, high = gain["interval"]
        rows.append(
            Row(
                name=lever["name"],
                value=gain["difference"],
                low=low,
                high=high,
                points=gain["by_seed"],
            )
        )
    chart = charts.intervals(
        rows,
        title=f"Macro-F1 that levers of {results['name']} gain, with 95 % intervals",
        x_label="macro-F1 gained; faint: by seed",
        reference=(results["name"], 0.0),
        signed=True,
    )
    return charts.standalone(chart)


def _scored_on(results: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, results["seeds"]))
    folds = ", ".join(map(str, results["folds"]))
    where = f"out of fold over the folds {folds}" if folds else f"on {results['split']}"
    return (
        f"{results['corpus']}, {where}: {results['utterances']} utterances of"
        f" {results['speakers']} speakers, means over the seeds {seeds}."
    )


def _gain(gain: Mapping[str, Any]) -> str:
    low, high = gain["interval"]
    return f"{gain['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _gained(score: str) -> str:
    if score == _DIVERGENCE:
        return f"{_named(score)} added (below 0 is better)"
    return f"{_named(score)} gained"


def _named(score: str) -> str:
    return _NAMES.get(score, score)
