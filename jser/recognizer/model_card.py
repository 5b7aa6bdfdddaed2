"""The model card: README.md of a bundle, in the format of the Hugging Face hub."""

from collections.abc import Mapping
import json
from typing import Any

from jser import console
from jser.config_rules import LORA
from jser.front_end_table import PRETRAINED
from jser.recognizer.bundle import Bundle

UNKNOWN_LICENSE = "unknown"
_ATTRIBUTES = "arousal, valence and dominance"
_LIMITS = """\
Emotion here is what listeners said, or actors were asked to play, in the corpus above:
not what a person feels. The model may be wrong for any one recording, and is wrong more
often for voices, languages, rooms and microphones other than those it was trained on.

It is no diagnosis, and not for surveillance, hiring, grading, lending or policing. In
the European Union, systems that infer emotions at work and in schools are prohibited
but for medical and safety reasons (Regulation 2024/1689, Article 5(1)(f)); elsewhere
ask who is heard, and tell them."""


def of(model: Bundle) -> str:
    """The card of a bundle, by what it says of itself."""
    about = model.about
    parts = [
        _head(model),
        f"# {model.name}\n",
        f"Recognises {', '.join(model.labels)} in speech{_rates(model)}.\n",
        f"```\n{example(model, model.name)}\n```\n",
    ]
    if caution := about.get("caution"):
        parts.append(f"> {caution}\n")
    parts += ["## What it was trained on\n", _corpus(about), "## How good it is\n"]
    parts += [_figures(model), "## Use and limits\n", _LIMITS + "\n"]
    if more := about.get("more"):
        parts.append(f"{more}\n")
    parts += ["## What is inside\n", _inside(model)]
    return "\n".join(parts)


def _rates(model: Bundle) -> str:
    return f", and predicts {_ATTRIBUTES}" if model.attributes_of else ""


def example(model: Bundle, where: str) -> str:
    """The command that asks the model, which lies `where`."""
    reads_text = any(s["kind"] == "text" for s in model.front_ends.values())
    said = ' --transcript "what was said"' if reads_text else ""
    return f"jser recognize my.wav --model {where}{said}"


def _head(model: Bundle) -> str:
    """The YAML that the hub reads; JSON is YAML, too."""
    about = model.about
    used = {
        PRETRAINED[s["name"]]
        for s in (*model.front_ends.values(), *model.encoders.values())
        if s["name"] in PRETRAINED
    }
    fields: dict[str, Any] = {
        "library_name": "jser",
        "pipeline_tag": "audio-classification",
        "license": about.get("license", UNKNOWN_LICENSE),
        "tags": ["speech-emotion-recognition", "jser"],
        "datasets": [about["corpus"]],
        "model-index": [{"name": model.name, "results": _results(about)}],
    }
    if bases := sorted({p.hub for p in used if p.hub}):
        fields["base_model"] = bases
    if language := about.get("language"):
        fields["language"] = language.split(",")
    lines = [f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in fields.items()]
    return "\n".join(["---", *lines, "---", ""])


def _results(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": "audio-classification"},
            "dataset": {"name": about["corpus"], "type": about["corpus"], "split": s},
            "metrics": [
                {"type": name, "value": score["value"], "name": name}
                for name, score in of_split["scores"].items()
            ],
        }
        for s, of_split in about["figures"].items()
    ]


def _corpus(about: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{n} {k}" for k, n in about["per_emotion"].items())
    return (
        f"{about['corpus']}: {console.counted(about['utterances'], 'utterance')} of"
        f" {_speakers(about)}, {_length(about['seconds'])}; {counts}.\n"
    )


def _speakers(about: Mapping[str, Any]) -> str:
    known = about["speakers"]
    return console.counted(known, "speaker") if known else "unnamed speakers"


def _length(seconds: float) -> str:
    if seconds < 90:
        return console.counted(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes"


def _figures(model: Bundle) -> str:
    crossed = model.about["protocol"] == "cross-validation"
    named = bool(model.about["speakers"])
    lines = [
        "Of the recipe, by cross-validation: each utterance by networks that had not"
        f" heard {'its speaker' if named else 'it, but may have heard its speaker'}."
        " The networks in here were trained once more, on all of them."
        if crossed
        else "Of these networks, on utterances that they were not trained on.",
        "",
        "| split | utterances | speakers | macro-F1 | UAR | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for split, figures in model.about["figures"].items():
        cells = []
        for name in ("macro_f1", "uar", "accuracy"):
            score = figures["scores"][name]
            low, high = score["interval"]
            cells.append(f"{score['value']:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(
            f"| {split} | {figures['utterances']} |"
            f" {figures['speakers'] or 'unnamed'} | {' | '.join(cells)} |"
        )
    first = next(iter(model.about["figures"].values()))
    lines += [
        "",
        f"In brackets: 95 % intervals, drawn over {first['interval_over']}.",
        "",
        "Recall: " + ", ".join(f"{n} {r:.2f}" for n, r in first["recall"].items()),
        "",
        "Candidates, each speaker's by thresholds of the others: "
        + "; ".join(
            f"{float(c):.0%} asked, {covered:.1%} covered by {size:.2f} emotions"
            for c, (covered, size) in first["coverage"].items()
        )
        + ".",
        "",
    ]
    for split, figures in model.about["figures"].items():
        if rated := figures.get("attributes"):
            lines += [_concordance(split, rated), ""]
    return "\n".join(lines)


def _concordance(split: str, rated: Mapping[str, Any]) -> str:
    """A line about attributes: how well they agree with what raters said."""
    cells = []
    for name, score in rated.items():
        ends = ", ".join(f"{end:.3f}" for end in score["interval"])
        cells.append(f"{name} {score['value']:.3f}{f' [{ends}]' if ends else ''}")
    return f"Concordance (CCC) with the raters, {split}: {', '.join(cells)}."


def _inside(model: Bundle) -> str:
    lines = [
        f"* Streams: {', '.join(model.front_ends)}.",
        *_learned(model),
        f"* {console.counted(len(model.members), 'network')}:"
        f" {', '.join(m.experiment.name for m in model.members)}; combined by"
        f" {model.stacker.kind if model.stacker else 'average'}.",
        *_raters(model),
        f"* Temperature {model.calibration.temperature:.2f}; below a confidence of"
        f" {model.calibration.unknown_below:.2f} the label is unknown: of the right"
        " answers about speakers that were not heard, 5 % are withheld by it.",
        f"* Digest {model.digest}.",
        "",
    ]
    return "\n".join(lines)


def _raters(model: Bundle) -> list[str]:
    """A line about who predicts attributes, if anyone does."""
    if not model.attributes_of:
        return []
    return [
        f"* {_ATTRIBUTES.capitalize()} are the mean of what"
        f" {', '.join(model.attributes_of)} say, on the scale of"
        f" {model.about['corpus']}, between 1 and 7."
    ]


def _learned(model: Bundle) -> list[str]:
    """A line for each member whose encoder learned."""
    lines = []
    for member in model.members:
        tune = member.experiment.tune
        if tune.encoder:
            how = f"an adapter of rank {tune.rank}" if tune.how == LORA else "all of it"
            lines.append(
                f"* Below {member.experiment.name} learned {tune.encoder}: {how}."
                " `jser export --to peft` writes it."
            )
    return lines
