"""Checkpoints of a run, in `<workdir>/checkpoints/<step>`."""

import contextlib
import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jser import files
from jser.training.step import TrainState, Variables

_keep = ocp.training.preservation_policies


class Checkpoints:
    """The last state of a run, for resuming, and the best one, for use.

    The best has the highest dev macro-F1, the earliest of equals. A run without a dev
    split keeps the last alone.
    """

    def __init__(self, workdir: pathlib.Path):
        """Opens `<workdir>/checkpoints`, making it if need be."""
        self.folder = workdir.absolute() / "checkpoints"
        for path in sorted(self.folder.glob("*/metrics/metrics")):
            files.read_json(path, _remedy(path.parents[1]))  # Orbax names none.
        # Orbax sorts by whatever the function gives; its annotations are narrower.
        best: Any = _keep.BestN(get_metric_fn=_rank, n=1)  # pyright: ignore
        both: Any = _keep.AnyPreservationPolicy([_keep.LatestN(1), best])
        self._orbax = ocp.training.Checkpointer(
            str(self.folder), preservation_policy=both, cleanup_tmp_directories=True
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with files.writing(self.folder):  # Only now it may tell that a disk was full.
            self._orbax.close()

    def save(self, state: TrainState, scores: dict[str, float]) -> None:
        """Saves a state. A cut while saving leaves the former ones as they were."""
        step = int(state.step)
        metrics: Any = scores | {"step": step}
        with files.writing(self.folder, sum(x.nbytes for x in jax.tree.leaves(state))):
            saved = self._orbax.save(step, state, metrics=metrics)
        if not saved:
            raise RuntimeError(f"{self.folder}: step {step} was not saved.")

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return max((m["step"] for m in self._metrics()), default=None)

    def best_step(self) -> int | None:
        """The step of the best checkpoint, None if there is none."""
        return max(self._metrics(), key=_rank)["step"] if self._metrics() else None

    def best_macro_f1(self) -> float:
        """The best one's dev macro-F1; below every score if there is none."""
        return max((m.get("macro_f1", -1.0) for m in self._metrics()), default=-1.0)

    def _metrics(self) -> list[dict[str, Any]]:
        metrics = []
        for checkpoint in self._orbax.checkpoints:
            with self._reading(checkpoint.step):
                saved = dict(checkpoint.metrics)  # pyright: ignore
                files.expect(saved, {"step": int})
            metrics.append(saved)
        return metrics

    def load(self, step: int, like: Any) -> Any:
        """The state saved at `step`, in the shapes and on the devices of `like`."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        with self._reading(step):
            return self._orbax.load(step, abstract)

    def _reading(self, step: int) -> contextlib.AbstractContextManager[None]:
        folder = self.folder / str(step)
        return files.reading(folder, _remedy(folder))

    def load_variables(self, step: int) -> Variables:
        """What the network of the state saved at `step` computes with."""
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        with self._reading(step):
            tree: Any = self._orbax.metadata(step).metadata
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
            )
            saved: Any = self._orbax.load(step, abstract)
            return {"params": saved["params"], "standard": saved["standard"]}


def _remedy(folder: pathlib.Path) -> str:
    return (
        f"Remove {folder} and run jser train again: it goes on from the checkpoint"
        " before, or from the start."
    )


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    """Higher macro-F1 is better, then earlier; without scores, later is better."""
    if "macro_f1" in metrics:
        return metrics["macro_f1"], -metrics["step"]
    return -1.0, metrics["step"]
