"""Checkpoints of a run, in `<workdir>/checkpoints/<step>`."""

from collections.abc import Sequence
import contextlib
import pathlib
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jser import files
from jser.ensemble import checkpoint_metrics
from jser.training.optimizer import averaged
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
        self._workdir = workdir
        for path in sorted(self.folder.glob("*/metrics/metrics")):
            files.read_json(path, _remedy(path.parents[1]))  # Orbax names none.
        # Orbax sorts by whatever the function gives; its annotations are narrower.
        best: Any = _keep.BestN(get_metric_fn=checkpoint_metrics.rank, n=1)  # pyright: ignore
        both: Any = _keep.AnyPreservationPolicy([_keep.LatestN(1), best])
        self._orbax = ocp.training.Checkpointer(
            str(self.folder), preservation_policy=both, cleanup_tmp_directories=to_save
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with files.writing(self.folder):  # Only now it may tell that a disk was full.
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
        metrics = checkpoint_metrics.made(
            self._workdir, step, scores, _digest(state), unwritten
        )
        with files.writing(self.folder, sum(x.nbytes for x in jax.tree.leaves(state))):
            saved = self._orbax.save(step, state, metrics=metrics)
        if not saved:
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

    def unwritten(self) -> list[dict[str, float]]:
        """What `save` was given of it with the newest checkpoint."""
        last = max(self._metrics(), key=lambda m: m["step"], default={})
        return list(last.get("unwritten", []))

    def _metrics(self) -> list[dict[str, Any]]:
        return checkpoint_metrics.read(self._workdir)

    def load(self, step: int, like: Any) -> Any:
        """The state saved at `step`, in the shapes and on the devices of `like`.

        Raises:
          ValueError: if it is another state than was saved.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        with self._reading(step):
            state: Any = self._orbax.load(step, abstract)
        self._refuse_other(step, state, int(state.step))
        return state

    def _reading(self, step: int) -> contextlib.AbstractContextManager[None]:
        folder = self.folder / str(step)
        return files.reading(folder, _remedy(folder))

    def load_variables(self, step: int) -> Variables:
        """What the network of the state saved at `step` computes with.

        Raises:
          ValueError: if it is another state than was saved.
        """
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        with self._reading(step):
            tree: Any = self._orbax.metadata(step).metadata
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
            )
            saved: Any = self._orbax.load(step, abstract)
            found = int(saved["step"])
        self._refuse_other(step, saved, found)
        mean = averaged(saved["opt_state"])
        params = saved["params"] if mean is None else mean
        return {"params": params, "standard": saved["standard"]}

    def _refuse_other(self, step: int, state: Any, found: int) -> None:
        metrics = next(m for m in self._metrics() if m["step"] == step)
        then = metrics.get("state")  # Earlier versions did not keep it.
        if step != found or (then and then != _digest(state)):
            folder = self.folder / str(step)
            raise ValueError(
                f"{folder}: not the numbers that were saved at step {step}."
                f" {_remedy(folder)}"
            )


def _remedy(folder: pathlib.Path) -> str:
    return (
        f"Remove {folder} and run jser train again: it goes on from the checkpoint"
        " before, or from the start."
    )


def _digest(state: Any) -> str:
    """Of all arrays of a state, whatever the order in which it holds them.

    Orbax notices when its own tables are damaged, and nothing of what they point to.
    """
    arrays = map(np.asarray, jax.tree.leaves(state))
    return files.digest(
        *sorted(files.digest(f"{x.dtype} {x.shape}", x.tobytes()) for x in arrays)
    )
