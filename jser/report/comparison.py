"""Two systems on the same utterances: which is better, by chance? No JAX here."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from jser.ensemble import provenance, stacking
from jser.ensemble.logits import Logits
from jser.report import markdown
from jser.report.captions import FEWEST_SPEAKERS
from jser.statistics import bootstrap, metrics


def cluster(logits: Logits) -> np.ndarray | None:
    """The speakers to draw by, or None where there are too few or some not known."""
    speakers = set(logits.speaker.tolist())
    known = "" not in speakers and len(speakers) >= FEWEST_SPEAKERS
    return logits.speaker if known else None


def of(a: Logits, b: Logits) -> dict[str, Any]:
    """What `b` gains over `a`, by the paired tests of `bootstrap.compare`.

    Returns:
      "utterances"; "drawn", which is by speakers where there are enough; and "scores",
      by name: "a", "b" and the fields of `bootstrap.Comparison`.

    Raises:
      ValueError: if they do not hold the same utterances, or labels are held back.
    """
    joined = stacking.join({"a": a, "b": b})
    predicted_a, predicted_b = joined.logits.argmax(axis=2).T
    label, classes = joined.first.label, len(joined.first.labels)
    speakers = cluster(joined.first)
    compared = bootstrap.compare(
        label, predicted_a, predicted_b, classes, cluster=speakers
    )
    of_a, of_b = (metrics.scores(label, x, classes) for x in (predicted_a, predicted_b))
    return {
        "utterances": len(label),
        "drawn": "utterances" if speakers is None else "speakers",
        "scores": {
            s: {"a": of_a[s], "b": of_b[s], **dataclasses.asdict(compared[s])}
            for s in metrics.SCORES
        },
    }


def of_files(a: pathlib.Path, b: pathlib.Path, split: str) -> dict[str, Any]:
    """The same of logits on disk, with the paths "a" and "b".

    Args:
      a: Logits (.npz), or a folder that holds those of the split: a run's, or one below
        an ensemble's `logits/`.
      b: The same.
      split: Looked up in folders.

    Raises:
      FileNotFoundError: if there are no such logits.
      ValueError: if the two do not hold the same labelled utterances, or one was
        trained on some of them.
    """
    paths = [_logits_path(place, split) for place in (a, b)]
    if paths[0] == paths[1]:
        raise ValueError(f"--compare: {a} and {b} are the same logits.")
    both = [provenance.load(path) for path in paths]
    if all(x.table for x in both):
        both = _comparable(both)
    for path, logits in zip(paths, both, strict=True):
        if logits.in_sample.any():
            raise ValueError(f"{path}: its run was trained on some of the utterances.")
    return {"a": str(paths[0]), "b": str(paths[1]), **of(*both)}


def _comparable(both: Sequence[Logits]) -> list[Logits]:
    """What can be scored of both on another table than those of their runs."""
    shared = [label for label in both[0].occurring() if label in both[1].occurring()]
    both = [x.among(shared) for x in both]
    ids = set.intersection(*(set(x.utt_id.tolist()) for x in both))
    return [x.take(np.isin(x.utt_id, sorted(ids))) for x in both]


def _logits_path(place: pathlib.Path, split: str) -> pathlib.Path:
    if place.suffix == ".npz":
        return place
    inside = place / f"{split}.npz"
    return inside if inside.exists() else place / "logits" / f"{split}.npz"


def describe(compared: Mapping[str, Any]) -> str:
    """What `of_files` compared, in words."""
    lines = [
        f"a {compared['a']}",
        f"b {compared['b']}",
        f"b over a on {compared['utterances']} utterances, drawn by"
        f" {compared['drawn']}:",
    ]
    for score, x in compared["scores"].items():
        lines.append(
            f"{score}: a {x['a']:.3f}, b {x['b']:.3f}, {markdown.difference(x)}"
        )
    return "\n".join(lines)
