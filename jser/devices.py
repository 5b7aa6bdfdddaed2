"""Devices: how the arrays of a training lie on them, and who of several processes is.

Members are split over devices first, as they have nothing to tell each other, then the
rows of batches over those that are left; all else lies whole on each. One device has it
all: there is no other road. docs/scale.md.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import math
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

_MEMBERS, _ROWS = "members", "rows"  # Axes of the mesh.


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the arrays of a step lie.

    Attributes:
      mesh: Of devices, members by rows.
      lead: The axes that the first axes of states are split over; none of a run alone.
    """

    mesh: Mesh
    lead: tuple[str, ...]

    @classmethod
    def of(cls, rows: int, members: int | None = None) -> "Layout":
        """Of batches of so many rows; `members` is None where no array has that axis.

        Shares are equal: as many devices work as divide both numbers.

        Raises:
          ValueError: if devices of several processes would have nothing to do.
        """
        devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
        m = math.gcd(members or 1, len(devices))
        r = math.gcd(rows, len(devices) // m)
        if jax.process_count() > 1 and m * r < len(devices):
            raise ValueError(
                f"data.batch_size: {rows} utterances cannot be split evenly over"
                f" {len(devices)} devices of {jax.process_count()} processes; take a"
                f" multiple of {len(devices)}."
            )
        mesh = Mesh(np.array(devices[: m * r]).reshape(m, r), (_MEMBERS, _ROWS))
        return cls(mesh, () if members is None else (_MEMBERS,))

    def place(self, tree: Any) -> Any:
        """States, and whatever else each member has one of, on the devices."""
        sharding = self._sharding(*self.lead)

        def put(x):  # JAX puts no keys on devices of other processes.
            if not jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.device_put(x, sharding)
            numbers = jax.device_put(jax.random.key_data(x), sharding)
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))

        return jax.tree.map(put, tree)

    def split(self, batch: Any) -> Any:
        """Batches of all members, [M, B, ...], or of a run alone, on the devices.

        Of several processes each gives its own rows.
        """
        return self._put(batch, self._sharding(*self.lead, _ROWS))

    def split_rows(self, batch: Any) -> Any:
        """Likewise a batch [B, ...] that all members read."""
        return self._put(batch, self._sharding(_ROWS))

    def apart(self, f: Callable[..., jax.Array], axis: int) -> Callable[..., jax.Array]:
        """`f(variables, *arrays)`, on each device of its own rows alone.

        For what rows have nothing to tell each other in. A compiler that is left to
        find that out gathers what a convolution in groups reads.

        Args:
          f: Of variables that lie whole, and arrays by `split_rows`.
          axis: Of the rows in what it returns, from the end.
        """
        rows = PartitionSpec(_ROWS)

        def of_all(variables, *arrays):
            ahead = jax.eval_shape(f, variables, *arrays).ndim + axis
            return jax.shard_map(
                f,
                mesh=self.mesh,
                in_specs=(PartitionSpec(), *[rows] * len(arrays)),
                out_specs=PartitionSpec(*[None] * ahead, _ROWS),
                check_vma=False,
            )(variables, *arrays)

        return of_all

    def _put(self, batch: Any, sharding: NamedSharding) -> Any:
        if jax.process_count() == 1:
            return jax.device_put(batch, sharding)
        put = lambda x: jax.make_array_from_process_local_data(sharding, x)
        return jax.tree.map(put, batch)

    def _sharding(self, *axes: str) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def join(coordinator: str, processes: int, index: int) -> None:
    """Makes this process one of several that share a training.

    Args:
      coordinator: "host:port" of the first; "auto" where SLURM, Cloud TPU or Open MPI
        says who takes part.
      processes: How many there are; 0 where they are found.
      index: Of this one, from 0.

    Raises:
      ValueError: if nobody says who takes part, or they do not find each other.
    """
    told: dict[str, Any] = {}
    if coordinator == "auto":
        if processes:
            raise ValueError(f"--processes={processes}: not with --coordinator=auto.")
    elif processes:
        told = {"coordinator_address": coordinator, "num_processes": processes}
        told["process_id"] = index
    else:
        raise ValueError(
            f"--coordinator={coordinator}: give --processes and --process_id, too; or"
            " --coordinator=auto on SLURM, Cloud TPU and Open MPI."
        )
    # It would take SIGTERM for itself, and `processes` would never hear of it.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**told)
    except (ValueError, RuntimeError) as e:
        said = str(e).splitlines()[0].rstrip(".")
        remedy = "" if told else " Give host:port, --processes and --process_id."
        raise ValueError(f"--coordinator={coordinator}: {said}.{remedy}") from e


def is_first() -> bool:
    """Whether this process, of those that share a training, is the one that writes."""
    return jax.process_index() == 0


@contextlib.contextmanager
def first_alone(what: str) -> Iterator[None]:
    """What the first process does before the others do it; `what` names it for JAX.

    If it fails, the others go on all the same, to fail for the same reason.
    """
    if not is_first():
        multihost_utils.sync_global_devices(what)
    try:
        yield
    finally:
        if is_first() and jax.process_count() > 1:
            multihost_utils.sync_global_devices(what)


def any_of_them(flag: bool) -> bool:
    """Whether `flag` is set in one of the processes; all ask at the same time."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def whole(x: jax.Array) -> np.ndarray:
    """An array, wherever its pieces lie; all processes ask at the same time."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
