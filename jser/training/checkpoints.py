"""Checkpoints of a run, in `<workdir>/checkpoints/<step>`."""

import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jser.ensemble import checkpoint_metrics
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
        self._workdir = workdir
        # Orbax sorts by whatever the function gives; its annotations are narrower.
        best: Any = _keep.BestN(get_metric_fn=checkpoint_metrics.rank, n=1)  # pyright: ignore
        both: Any = _keep.AnyPreservationPolicy([_keep.LatestN(1), best])
        self._orbax = ocp.training.Checkpointer(
            str(self.folder), preservation_policy=both, cleanup_tmp_directories=True
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._orbax.close()

    def save(self, state: TrainState, scores: dict[str, float]) -> None:
        """Saves a state. A cut while saving leaves the former ones as they were."""
        step = int(state.step)
        metrics = checkpoint_metrics.made(self._workdir, step, scores)
        if not self._orbax.save(step, state, metrics=metrics):
            raise RuntimeError(f"{self.folder}: step {step} was not saved.")

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return max((m["step"] for m in self._metrics()), default=None)

    def best_step(self) -> int | None:
        """The step of the best checkpoint, None if there is none."""
        best = checkpoint_metrics.best(self._workdir)
        return best["step"] if best else None

    def best_macro_f1(self) -> float:
        """The best one's dev macro-F1; below every score if there is none."""
        return max((m.get("macro_f1", -1.0) for m in self._metrics()), default=-1.0)

    def _metrics(self) -> list[dict[str, Any]]:
        return checkpoint_metrics.read(self._workdir)

    def load(self, step: int, like: Any) -> Any:
        """The state saved at `step`, in the shapes and on the devices of `like`.

        Raises:
          ValueError: if it is of another step.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        state: Any = self._orbax.load(step, abstract)
        self._refuse_other_step(step, int(state.step))
        return state

    def load_variables(self, step: int) -> Variables:
        """What the network of the state saved at `step` computes with.

        Raises:
          ValueError: if it is of another step.
        """
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        tree: Any = self._orbax.metadata(step).metadata
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
        )
        saved: Any = self._orbax.load(step, abstract)
        self._refuse_other_step(step, int(saved["step"]))
        return {"params": saved["params"], "standard": saved["standard"]}

    def _refuse_other_step(self, step: int, found: int) -> None:
        if step != found:
            raise ValueError(
                f"{self.folder / str(step)}: holds the state of step {found}. Remove"
                f" {self._workdir} and train again."
            )
