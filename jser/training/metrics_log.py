"""Scalars of a run: to the log, to `metrics.jsonl` and to TensorBoard."""

from collections.abc import Mapping
import json
import pathlib

from absl import logging
import tensorboardX

from jser import devices, files


class MetricWriter:
    """Writes one line a call. Opened at a step, it drops what later steps had written.

    A run that was cut and resumed from an earlier checkpoint writes these lines again.
    Of several processes that share a run, the first alone writes.
    """

    def __init__(self, workdir: pathlib.Path, *, start: int):
        """Opens `metrics.jsonl` and an event file, to go on from `start`."""
        self._path = workdir / "metrics.jsonl"
        if not devices.is_first():
            return
        kept = [line for line in read(self._path) if line["step"] <= start]
        files.write_atomically(self._path, "".join(map(_to_line, kept)))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=start + 1
        )

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_) -> None:
        if not devices.is_first():
            return
        with files.writing(self._path):
            self._file.close()
        self._board.close()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes scalars named as "train/loss" or "dev/macro_f1"."""
        if not devices.is_first():
            return
        values = {k: float(v) for k, v in scalars.items()}
        with files.writing(self._path):
            self._file.write(_to_line({"step": step, **values}))
            self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = " ".join(f"{k}={v:.4g}" for k, v in values.items())
        logging.info("step %d: %s", step, shown)


def read(path: pathlib.Path) -> list[dict[str, float]]:
    """The whole lines of a `metrics.jsonl`; none if there is no file.

    A last line without its end is what a killed run left; it is not counted.

    Raises:
      ValueError: if another line is not one of ours, naming it.
    """
    if not path.exists():
        return []
    lines = files.read_text(path).splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [_from_line(path, n, line) for n, line in enumerate(whole, 1)]


def _from_line(path: pathlib.Path, number: int, line: str) -> dict[str, float]:
    try:
        scalars = json.loads(line)
    except json.JSONDecodeError as e:
        raise ValueError(f"{path}: line {number} is not JSON; remove it.") from e
    if not isinstance(scalars, dict) or "step" not in scalars:
        raise ValueError(f"{path}: line {number} has no step; remove it.")
    if not all(isinstance(v, int | float) for v in scalars.values()):
        raise ValueError(f"{path}: line {number} is not all numbers; remove it.")
    return scalars


def _to_line(scalars: Mapping[str, float]) -> str:
    return json.dumps(scalars) + "\n"
