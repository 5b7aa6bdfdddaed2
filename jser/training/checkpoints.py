"""Checkpoints of a run, in `<workdir>/checkpoints/<step>`."""

from collections.abc import Sequence
import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jser.training.step import TrainState, Variables

_keep = ocp.training.preservation_policies


class Checkpoints:
    """The last state of a run, for resuming, and the best one, for use.

    The best has the highest dev macro-F1, the earliest of equals. A run without a dev
    split keeps the last alone. One saved within an epoch has no scores; it is never the
    best while there is another, and goes with the next one.
    """

    def __init__(self, workdir: pathlib.Path, *, to_save: bool = False):
        """Opens `<workdir>/checkpoints`, making it if need be.

        Args:
          workdir: Of the run.
          to_save: Removes what a killed run had half saved. Only whoever trains there
            may: to all others it may be a checkpoint that is being saved.
        """
        self.folder = workdir.absolute() / "checkpoints"
        # Orbax sorts by whatever the function gives; its annotations are narrower.
        best: Any = _keep.BestN(get_metric_fn=_rank, n=1)  # pyright: ignore
        both: Any = _keep.AnyPreservationPolicy([_keep.LatestN(1), best])
        self._orbax = ocp.training.Checkpointer(
            str(self.folder), preservation_policy=both, cleanup_tmp_directories=to_save
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._orbax.close()

    def save(
        self,
        state: TrainState,
        scores: dict[str, float],
        unwritten: Sequence[dict[str, float]] = (),
    ) -> None:
        """Saves a state. A cut while saving leaves the former ones as they were.

        Args:
          state: Of a run.
          scores: On dev; none within an epoch.
          unwritten: Scalars of the steps since the last line of `metrics.jsonl`.
        """
        step = int(state.step)
        metrics: Any = scores | {"step": step}
        if unwritten:
            metrics["unwritten"] = list(unwritten)
        if not self._orbax.save(step, state, metrics=metrics):
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

    def unwritten(self) -> list[dict[str, float]]:
        """What `save` was given of it with the newest checkpoint."""
        last = max(self._metrics(), key=lambda m: m["step"], default={})
        return list(last.get("unwritten", []))

    def _metrics(self) -> list[dict[str, Any]]:
        return [dict(c.metrics) for c in self._orbax.checkpoints]  # pyright: ignore

    def load(self, step: int, like: Any) -> Any:
        """The state saved at `step`, in the shapes and on the devices of `like`."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        return self._orbax.load(step, abstract)

    def load_variables(self, step: int) -> Variables:
        """What the network of the state saved at `step` computes with."""
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        tree: Any = self._orbax.metadata(step).metadata
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
        )
        saved: Any = self._orbax.load(step, abstract)
        return {"params": saved["params"], "standard": saved["standard"]}


def _rank(metrics: dict[str, float]) -> tuple[float, float]:
    """Higher macro-F1 is better, then earlier; without scores, later is better."""
    if "macro_f1" in metrics:
        return metrics["macro_f1"], -metrics["step"]
    return -1.0, metrics["step"]
