"""The metrics that lie beside checkpoints: which is the best, and of which run.

`<workdir>/checkpoints/<step>/metrics/metrics` is JSON: dev scores, the step, the digest
of the run's config.json, that of the state's arrays, and a digest of all this.
Checkpoints of earlier versions have no digests and are taken as they are. No JAX here.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
from typing import Any

from jser import files
from jser.ensemble import run_config

_ABOUT = ("step", "run", "state", "unwritten", "digest")


def made(
    workdir: pathlib.Path,
    step: int,
    scores: Mapping[str, float],
    state: str,
    unwritten: Sequence[Mapping[str, float]] = (),
) -> Any:
    """The metrics of a checkpoint, sealed by their digest.

    Args:
      workdir: Of the run.
      step: Of the checkpoint.
      scores: On the dev split.
      state: Digest of the state's arrays.
      unwritten: Scalars of the steps since the last line of `metrics.jsonl`.
    """
    run = run_config.digest(workdir)
    metrics = {**scores, "step": step, "run": run, "state": state}
    if unwritten:
        metrics["unwritten"] = [dict(scalars) for scalars in unwritten]
    return metrics | {"digest": _digest(metrics)}


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The metrics of all checkpoints of a run, by step; none if there are none.

    Raises:
      FileNotFoundError: if there is no run.
      ValueError: if metrics are missing, were edited, or are of another run or step.
    """
    run, checkpoints = run_config.digest(workdir), workdir / "checkpoints"
    steps = sorted(int(p.name) for p in checkpoints.glob("*") if p.name.isdigit())
    every = []
    for step in steps:
        path = checkpoints / str(step) / "metrics" / "metrics"
        metrics = files.read_json(path) if path.exists() else {}
        fault = _fault(metrics, step, run)
        if fault:
            raise ValueError(
                f"{path}: {fault}. Put back what was there, or remove {workdir} and"
                " train again."
            )
        every.append(metrics)
    return every


def best(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The metrics of the checkpoint that a run is judged by, None if there is none.

    Raises:
      FileNotFoundError, ValueError: as `read`.
    """
    return max(read(workdir), key=rank, default=None)


def has_reached(workdir: pathlib.Path, step: int) -> bool:
    """Whether there is a run with a checkpoint of that step, or a later one.

    Raises:
      ValueError: as `read`.
    """
    there = (workdir / "config.json").exists()
    return there and any(m["step"] >= step for m in read(workdir))


def rank(metrics: Mapping[str, float]) -> tuple[float, float]:
    """Higher macro-F1 is better, then earlier; without scores, later is better."""
    if "macro_f1" in metrics:
        return metrics["macro_f1"], -metrics["step"]
    return -1.0, metrics["step"]


def scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The dev scores among them."""
    return {k: v for k, v in metrics.items() if k not in _ABOUT}


def _fault(metrics: Any, step: int, run: str) -> str:
    """Why these are not the metrics of that step of that run; empty if they are."""
    if not isinstance(metrics, dict) or metrics.get("step") != step:
        return f"not the metrics of step {step}"
    if not {"run", "digest"} & metrics.keys():  # Of an earlier version.
        return ""
    sealed = {k: v for k, v in metrics.items() if k != "digest"}
    if metrics.get("digest") != _digest(sealed):
        return "edited since it was written"
    if metrics.get("run") != run:
        return f"of the run {metrics.get('run')}, and the config.json there is {run}"
    return ""


def _digest(metrics: Mapping[str, Any]) -> str:
    return files.digest(json.dumps(metrics, sort_keys=True))
