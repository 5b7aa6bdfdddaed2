"""Draws the results as one page, `report.html`, that asks the network for nothing.

No JAX here. docs/report.md.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
from typing import Any

import jinja2

from jser import files
from jser.report import captions, charts, markdown, published, results
from jser.report.charts import Row
from jser.statistics import metrics

_NOTHING = "\N{EN DASH}"
_LEAST_P = 0.001  # Below it, the page says no more.
_SHOWN_FAILURES = 20  # Of more, the page gives the number.


def write(inputs: results.Inputs, folder: pathlib.Path) -> dict[str, Any]:
    """Writes report.html, results.json and results.md; returns the second's content."""
    scores = results.write(inputs, folder)
    files.write_atomically(folder / "report.html", page(scores, inputs.curves))
    return scores


def page(
    scores: Mapping[str, Any], curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> str:
    """The page of what results.json holds.

    Args:
      scores: As `results.score` gives it.
      curves: Lines of metrics.jsonl by member.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jser.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "share": _share,
        "gain": _gain,
        "p": _p,
        "with_interval": markdown.value_with_interval,
    }
    primary, first = scores["headline"]["system"], scores["headline"]["split"]
    splits = [first, *(s for s in scores["splits"] if s != first)]
    others = {s: x for s, x in scores["systems"].items() if s != primary}
    shown = {**scores, "systems": {primary: scores["systems"][primary], **others}}
    return environment.get_template("page.html.j2").render(
        results=shown,
        primary=primary,
        splits=splits,
        head=scores["systems"][primary][first],
        score_names=SCORE_NAMES,
        heard=markdown.HEARD,
        heard_names=markdown.HEARD_NAMES,
        heard_there=_heard(shown),
        captions=captions,
        bs_f1=markdown.BS_F1,
        verdict=verdict,
        overview={s: _overview(shown, s) for s in splits},
        subsets={s: _subsets(shown, s) for s in splits},
        reliability={s: _reliability(shown, s) for s in splits},
        group_charts={s: _groups(shown, s) for s in splits},
        paper=_paper(shown),
        published=published,
        curves=[_curve(member, lines) for member, lines in curves.items()],
        shown_failures=_SHOWN_FAILURES,
        results_json=json.dumps(scores),
    )


def _heard(scores: Mapping[str, Any]) -> set[str]:
    """The kinds of scores against what raters said that some system has."""
    every = [of for by_split in scores["systems"].values() for of in by_split.values()]
    return {kind for kind in markdown.HEARD if any(of[kind] for of in every)}


SCORE_NAMES = dict(zip(metrics.SCORES, ("macro-F1", "UAR", "accuracy"), strict=True))


def verdict(compared: Mapping[str, Any]) -> str:
    """What a comparison allows to be verdict, in one sentence, by macro-F1."""
    macro_f1 = compared["scores"]["macro_f1"]
    low, high = macro_f1["interval"]
    which = "above" if macro_f1["difference"] > 0 else "below"
    p = macro_f1["p_bootstrap"]
    verdict = "no difference that these utterances can show"
    if not low <= 0 <= high:
        verdict = "a difference that chance hardly explains"
    return (
        f"{abs(macro_f1['difference']):.3f} {which} {compared['rival']} in macro-F1"
        f" (paired 95 % interval {_gain(low)} to {_gain(high)},"
        f" p {'' if p < _LEAST_P else '= '}{_p(p)}): {verdict}."
    )


def _score(x: float | None) -> str:
    return _NOTHING if x is None else f"{x:.3f}"


def _share(x: float | None) -> str:
    return _NOTHING if x is None else charts.typeset(f"{x:.2f}")


def _gain(x: float) -> str:
    return charts.typeset(f"{x:+.3f}")


def _p(x: float) -> str:
    return f"< {_LEAST_P}" if x < _LEAST_P else f"{x:.3f}"


def _overview(scores: Mapping[str, Any], split: str) -> str:
    """Macro-F1 of every system with its interval."""
    rows = []
    for system, of in scores["systems"].items():
        if split in of:
            low, high = (of[split]["interval_by_speaker"] or of[split]["interval"])[
                "macro_f1"
            ]
            strong = system == scores["headline"]["system"]
            value = of[split]["macro_f1"]
            rows.append(
                Row(name=system, value=value, low=low, high=high, strong=strong)
            )
    return charts.intervals(
        rows,
        title=f"Macro-F1 of each system on {split}, with 95 % intervals",
        x_label="macro-F1",
        reference=("guessing", 1 / len(scores["labels"])),
    )


def _subsets(scores: Mapping[str, Any], split: str) -> str:
    """The hundred scores behind BS-F1, and the published mean where there is one.

    Nothing where there is one subset alone, and hence no hundred scores.
    """
    if captions.is_one_subset(scores["systems"][scores["headline"]["system"]][split]):
        return ""
    rows = []
    for system, of in scores["systems"].items():
        if split in of:
            b = of[split]["balanced_subsets"]
            theirs = (
                published.ROWS.get(system) if _of_the_paper(scores, split) else None
            )
            rows.append(
                Row(
                    name=system,
                    value=b["mean"],
                    low=b["low"],
                    high=b["high"],
                    points=b["scores"],
                    other=theirs.bs_f1 if theirs else None,
                    strong=system == scores["headline"]["system"],
                )
            )
    return charts.intervals(
        rows,
        title=f"Macro-F1 of 100 balanced subsets of {split}: all, mean, range",
        x_label="macro-F1 of a balanced subset",
    )


def _reliability(scores: Mapping[str, Any], split: str) -> dict[str, str]:
    """A reliability diagram of each system that combines, or of all if none does."""
    return {
        system: charts.reliability(
            [
                (b["confidence"], b["accuracy"], b["count"] / of[split]["utterances"])
                for b in of[split]["calibration"]["bins"]
            ],
            title=f"{system} on {split}: accuracy by confidence",
        )
        for system, of in scores["systems"].items()
        if split in of and system in _combining(scores)
    }


def _combining(scores: Mapping[str, Any]) -> list[str]:
    return [s for s in scores["systems"] if s not in scores["members"]] or list(
        scores["systems"]
    )


def _groups(scores: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The groups of the primary system, and UAR by gender and length as charts."""
    groups = scores["systems"][scores["headline"]["system"]][split]["groups"]
    drawn = {}
    for kind in ("gender", "length"):
        rows = []
        for name, g in groups.get(kind, {}).items():
            low, high = g["interval"]["uar"]
            rows.append(Row(name=name, value=g["uar"], low=low, high=high))
        drawn[kind] = charts.intervals(
            rows,
            title=f"UAR by {kind} on {split}, with 95 % intervals",
            x_label=f"UAR by {kind}",
        )
    return {"tables": groups, "charts": drawn}


def _of_the_paper(scores: Mapping[str, Any], split: str) -> bool:
    corpus = scores["corpus"]["source"]
    return (corpus, split) == (published.CORPUS, published.SPLIT)


def _paper(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The published rows that the reader has runs for, with both; often none."""
    if not _of_the_paper(scores, published.SPLIT):
        return []
    here = {
        s: x[published.SPLIT]
        for s, x in scores["systems"].items()
        if published.SPLIT in x
    }
    rows = [
        {"name": s, "theirs": theirs, "ours": here[s]}
        for s, theirs in published.ROWS.items()
        if s in here
    ]
    primary = scores["headline"]["system"]
    if len(rows) == len(published.ROWS) and primary not in published.ROWS:
        theirs = published.STACK
        rows.append({"name": primary, "theirs": theirs, "ours": here[primary]})
    return rows


def _curve(member: str, lines: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The learning curves of a member, loss and scores each in a chart of their own."""

    def pick(**names: str):
        series = {
            shown: [(x["step"], x[n]) for x in lines if n in x]
            for n, shown in ((v, k) for k, v in names.items())
        }
        return {n: points for n, points in series.items() if points}

    loss = pick(train="train/loss", dev="dev/loss")
    scores = pick(macro_F1="dev/macro_f1", UAR="dev/uar", accuracy="dev/accuracy")
    scores = {name.replace("_", "-"): points for name, points in scores.items()}
    axes = {"x_label": "step"}
    return {
        "member": member,
        "loss": charts.lines(loss, title=f"{member}: loss", y_label="loss", **axes),
        "scores": charts.lines(
            scores, title=f"{member}: dev scores", y_label="dev score", **axes
        )
        if scores
        else None,
    }
