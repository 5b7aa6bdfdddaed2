"""Scores every system of an ensemble and writes report.html, results.json and .md.

The page is one file and asks the network for nothing. No JAX here. docs/report.md.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

import jinja2
import numpy as np

import jser
from jser import bootstrap, charts, files, metrics
from jser.corpora import table as tables
from jser.corpora.table import Table
from jser.logits import Logits

_FEWEST_SPEAKERS = 5  # A bootstrap over fewer says nothing.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a report is made of."""

    name: str  # Of the ensemble.
    table: Table
    systems: Mapping[str, Mapping[str, Logits]]  # By system, best last, and split.
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # Lines of metrics.jsonl.
    commands: Sequence[str]
    notes: Sequence[str] = ()  # What a reader must know to read the numbers.


def write(inputs: Inputs, folder: pathlib.Path) -> dict[str, Any]:
    """Writes the three files into `folder`; returns what results.json holds."""
    results = score(inputs)
    files.write_json(folder / "results.json", results)
    files.write_atomically(folder / "results.md", to_markdown(results))
    files.write_atomically(folder / "report.html", _page(results, inputs))
    return results


def score(inputs: Inputs) -> dict[str, Any]:
    """All numbers of the report, as plain values."""
    table = inputs.table
    return {
        "ensemble": inputs.name,
        "jser": jser.__version__,
        "corpus": {
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
        },
        "labels": list(table.labels),
        "notes": list(inputs.notes),
        "systems": {
            system: {
                split: score_split(found)
                for split, found in splits.items()
                if (found.label >= 0).all()
            }
            for system, splits in inputs.systems.items()
        },
        "commands": list(inputs.commands),
    }


def score_split(found: Logits) -> dict[str, Any]:
    """Scores, intervals, recalls and confusions of one system on one split."""
    classes, predicted = len(found.labels), found.logits.argmax(axis=1)
    counts = metrics.confusion(found.label, predicted, classes)
    names = [str(name) for name in found.labels]
    speakers = set(found.speaker.tolist())
    by_speaker = None
    if "" not in speakers and len(speakers) >= _FEWEST_SPEAKERS:
        by_speaker = bootstrap.interval(
            found.label, predicted, classes, cluster=found.speaker
        )
    return {
        "utterances": len(found),
        "speakers": len(speakers - {""}),
        **metrics.scores(found.label, predicted, classes),
        "interval": bootstrap.interval(found.label, predicted, classes),
        "interval_by_speaker": by_speaker,
        "recall": dict(zip(names, _plain(metrics.recall(counts)), strict=True)),
        "precision": dict(zip(names, _plain(metrics.precision(counts)), strict=True)),
        "confusion": counts.tolist(),
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    """The table of results as Markdown."""
    lines = [f"# {results['ensemble']}", ""]
    lines += [f"> {note}\n" for note in results["notes"]]
    lines += [
        "| split | system | macro-F1 | UAR | accuracy |",
        "|---|---|---|---|---|",
    ]
    for split in _splits(results):
        for system, found in results["systems"].items():
            if split in found:
                cells = [_with_interval(found[split], s) for s in metrics.SCORES]
                lines.append(f"| {split} | {system} | {' | '.join(cells)} |")
    lines += ["", f"In brackets: {INTERVAL}.", "", "To reproduce:", "", "```"]
    return "\n".join([*lines, *results["commands"], "```", ""])


INTERVAL = (
    "95 % percentile bootstrap interval, drawn over speakers where the split has five"
    " or more, else over utterances"
)


def _with_interval(found: Mapping[str, Any], score: str) -> str:
    low, high = (found["interval_by_speaker"] or found["interval"])[score]
    return f"{found[score]:.3f} [{low:.3f}, {high:.3f}]"


def _splits(results: Mapping[str, Any]) -> list[str]:
    """All splits that were scored, in the order they come up."""
    return list(dict.fromkeys(s for x in results["systems"].values() for s in x))


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def _page(results: dict[str, Any], inputs: Inputs) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jser", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        results=results,
        splits=_splits(results),
        scores=list(metrics.SCORES),
        with_interval=_with_interval,
        interval=INTERVAL,
        charts=[_curve(member, lines) for member, lines in inputs.curves.items()],
        results_json=json.dumps(results),
    )


def _curve(member: str, lines: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The learning curves of a member, loss and scores each in a chart of their own."""

    def pick(*names):
        found = {n: [(x["step"], x[n]) for x in lines if n in x] for n in names}
        return {n: points for n, points in found.items() if points}

    loss = pick("train/loss", "dev/loss")
    scores = pick("dev/macro_f1", "dev/uar", "dev/accuracy")
    axes = {"x_label": "step"}
    return {
        "member": member,
        "loss": charts.lines(loss, title=f"{member}: loss", y_label="loss", **axes),
        "scores": charts.lines(
            scores, title=f"{member}: dev scores", y_label="score", **axes
        )
        if scores
        else None,
    }
