"""The programs of ahead.py: each is compiled and prints its row.

python -m benchmarks.ahead_parts h100 steps 0
"""

import argparse
from collections.abc import Callable
import contextlib
import functools
from importlib import metadata
import math
import pathlib
import time
from typing import Any
from unittest import mock

import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Lowered
from jaxlib import _hlo, xla_client
import numpy as np

from benchmarks import ahead, encoder_sizes
from benchmarks.ahead_text import Text
from benchmarks.encoder_sizes import REHEARSAL, SIZES
from jser import recipes
from jser.config import Experiment
from jser.models import recurrence_batch_major, recurrence_time_major
from jser.shapes import Batch, Stream
from jser.training import together
from jser.training.inference import make_predict_step
from jser.training.network import products
from jser.training.optimizer import make_optimizer
from jser.training.step import RunHyperparameters, StepConfig, init_state, jitted_step

CLASSES, BATCH, FRAMES, HIDDEN = 8, 64, (300, 80), 512  # The paper's step.
WIDTHS = SIZES["whisper"].width, SIZES["roberta"].width
LOOPS = {
    ahead.FRAMES: recurrence_batch_major.bidirectional,
    ahead.STEPS: lambda dtype, *stream: recurrence_time_major.bidirectional(
        dtype, stream
    )[0],
}
CONFIG = pathlib.Path(__file__).parent / "h100.txtpb"
COMPILERS = {
    "h100": ("jax-cuda12-plugin", "nvidia-cuda-nvcc-cu12"),
    "v5e": ("libtpu",),
    "v6e": ("libtpu",),
}


def mesh(target: str, devices: int = 1, members: int = 0) -> Mesh:
    """Of so many devices that are not there, as `devices.Layout` has them."""
    if target == "h100":
        shape = f"1x1x{devices}"
        told = {"target_config": CONFIG.read_text(), "topology": shape}
        there = topologies.get_topology_desc(shape, "cuda", **told).devices
    else:
        there = topologies.get_topology_desc(f"{target}:2x2", "tpu").devices[:devices]
    m = math.gcd(members or 1, devices)
    return Mesh(np.array(there).reshape(m, -1), ("members", "rows"))


def on(mesh: Mesh, tree: Any, *axes: str) -> Any:
    """Shapes of a tree's arrays, split over axes of the mesh, and else whole."""
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    abstract = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return jax.tree.map(abstract, tree)


def loop(mesh: Mesh, *, loop: str, precision: str, asks: bool = True) -> Lowered:
    """Gradients of a sum of states, by frames and by all parameters."""
    B, T, H = BATCH, FRAMES[0], HIDDEN
    dtype = "bfloat16" if precision == "bf16" else "float32"

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 2, 3))
    def gradients(x, hold, ih, hh, weigh):
        states = LOOPS[loop](dtype, x, hold, ih, hh)
        return (states * weigh).sum()

    shape = lambda *n: jax.ShapeDtypeStruct(n, jnp.float32)
    params = shape(2, H, 3 * H), shape(2, 3 * H)
    args = shape(B, T, H), shape(B, T), params, params, shape(B, T, 2 * H)
    with products(precision) if asks else contextlib.nullcontext():
        return gradients.lower(*on(mesh, args))


def step(
    mesh: Mesh,
    *,
    precision: str,
    batch: int = BATCH,
    frames: tuple[int, ...] = FRAMES,
    hidden: int = HIDDEN,
    members: int = 0,
    predicts: bool = False,
) -> Lowered:
    """A training step of the paper's network, or its logits."""
    streams = dict.fromkeys(("speech", "text"), "any")
    c = recipes.paper("ahead", epochs=20, soft_margin=True, **streams)
    c.precision, c.model.hidden = precision, hidden
    config = StepConfig.of(c, CLASSES, (), CLASSES - 1)
    lead = (members,) if members else ()
    shape = lambda dtype, *n: jax.ShapeDtypeStruct((*lead, batch, *n), dtype)
    given = Batch(
        {
            s: Stream(shape(jnp.float16, T, D), shape(bool, T))
            for s, T, D in zip(streams, frames, WIDTHS, strict=True)
        },
        target=shape(jnp.float32, CLASSES),
        weight=shape(jnp.float32),
    )
    axes = ("members",) if members else ()
    given = on(mesh, given, *axes, "rows")
    state, numbers = on(mesh, _fresh(config, c, given, members), *axes)
    if predicts:
        return make_predict_step(config.model).lower(state.variables, given)
    if not members:
        return jitted_step(config).lower(state, given, numbers)
    moves = on(mesh, jax.ShapeDtypeStruct((members,), bool), *axes)
    return together.together_step(config).lower(state, given, numbers, moves)


def _fresh(config: StepConfig, c: Experiment, given: Batch, members: int) -> Any:
    """Shapes of a first state and of hyper-parameters, of one run or of members."""

    def one(given, key):
        tx = make_optimizer(c.optim, lambda step: 0.0)
        weight = jnp.ones(CLASSES)
        state = init_state(config.model, tx, given, key)
        return state, RunHyperparameters.of(c, key, weight, steps=100)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), members or 1))
    make = jax.vmap(one) if members else lambda given, keys: one(given, keys[0])
    return jax.eval_shape(make, given, keys)


def encoder(mesh: Mesh, *, kind: str, batch: int) -> Lowered:
    """A pass of an encoder, as extraction runs it."""
    half = jnp.dtype("float32" if kind == "facodec" else "bfloat16")
    module = encoder_sizes.module(kind, SIZES.get(kind, REHEARSAL), half)
    arguments = encoder_sizes.arguments(kind, batch)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)
    variables = narrow(shapes, half)

    @jax.jit
    def encode(variables, *arguments):
        with jax.default_matmul_precision("highest" if kind == "facodec" else None):
            made = module.apply(variables, *arguments)
        return made[0] if isinstance(made, tuple) else made

    # On CPUs attention goes by blocks; that is asked of the computer here.
    with mock.patch.object(jax, "default_backend", return_value="another"):
        return encode.lower(on(mesh, variables), *on(mesh, arguments))


def narrow(variables: Any, half: Any) -> Any:
    """Shapes as weights are loaded: kernels and embeddings in that dtype."""

    def one(path, x):
        is_kernel = path[-1].key in ("kernel", "embedding")
        return jax.ShapeDtypeStruct(x.shape, half if is_kernel else x.dtype)

    return jax.tree_util.tree_map_with_path(one, variables)


def cost(text: Text, computation: str = "") -> np.ndarray:
    """Operations and bytes by XLA's cost analysis, where every round of a loop counts.

    The analysis itself knows each loop once.
    """
    total = _once(text, computation)
    for x in text.loops(computation):
        total = total + x.rounds * cost(text, x.body) - _once(text, x.body)
    return total


def _once(text: Text, computation: str) -> np.ndarray:
    module = _hlo.hlo_module_from_text(text.module(computation))
    client = jax.local_devices(backend="cpu")[0].client
    found = xla_client._xla.hlo_module_cost_analysis(client, module)
    return np.array([found["flops"], found["bytes accessed"]])


def row(case: ahead.Case, target: str, table: str) -> str:
    """Compiles a program and tells of it, by the columns of its table."""
    options = dict(case.options)
    there = mesh(target, options.pop("devices", 1), options.get("members", 0))
    lowered = MAKERS[case.make](there, **options)
    began = time.monotonic()
    compiled = lowered.compile()
    took_s = time.monotonic() - began
    text, memory = Text(compiled.as_text()), compiled.memory_analysis()
    gb = lambda n: f"{n / 1e9:.2f}"
    if table == "memory":
        cells = [gb(memory.argument_size_in_bytes)]
    else:
        cells = on_gpu(case, text) if target == "h100" else on_tpu(case, text)
        flop, moved = cost(text)
        cells += [f"{flop / 1e9:,.0f}", f"{moved / 1e9:,.1f}"]
    cells += [gb(memory.temp_size_in_bytes), gb(memory.peak_memory_in_bytes)]
    return f"| {' | '.join([case.what, *cells, f'{took_s:.0f}'])} |"


def on_gpu(case: ahead.Case, text: Text) -> list[str]:
    """Cells: kernels, by loop, by time step; time to launch them; collectives."""
    n = text.kernels()
    cells = [f"{n:,}", in_loops(text, text.kernels)]
    if case.make != "encoder":
        cells.append(by_step(case, text, text.kernels, 2))
        cells.append(" to ".join(f"{n * us / 1e3:.1f}" for us in ahead.LAUNCH_US))
        counts = sorted(text.collectives().items())
        cells.append(", ".join(f"{n} {kind}" for kind, n in counts) or "none")
    return cells


def on_tpu(case: ahead.Case, text: Text) -> list[str]:
    """Cells: cycles, by loop, by time step."""
    cells = [f"{text.cycles() / 1e6:,.2f}", in_loops(text, text.cycles)]
    if case.make != "encoder":
        cells.append(by_step(case, text, text.cycles, 0))
    return cells


def in_loops(text: Text, measure: Callable[[str], int]) -> str:
    """Rounds of each loop, and what a round of it takes."""
    loops = [f"{x.rounds} x {measure(x.body):,}" for x in text.loops()]
    return ", ".join(loops) or "none"


def by_step(
    case: ahead.Case, text: Text, measure: Callable[[str], int], digits: int
) -> str:
    """What a step in time takes forward and backward, over all frames of all streams.

    A round of a loop may be of several.
    """
    streams = FRAMES[:1] if case.make == "loop" else FRAMES
    steps = sum(case.options.get("frames", streams))
    passes = [
        sum(x.rounds * measure(x.body) for x in text.loops() if x.backward == backward)
        for backward in (False, True)
    ]
    return " + ".join(f"{taken / steps:,.{digits}f}" for taken in passes)


MAKERS: dict[str, Callable[..., Lowered]] = {
    "loop": loop,
    "step": step,
    "encoder": encoder,
}


def main() -> None:
    """Prints the row of a program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=ahead.TARGETS)
    parser.add_argument("table")
    parser.add_argument("case", type=int)
    a = parser.parse_args()
    (table,) = (t for t in ahead.TARGETS[a.target] if t.name == a.table)
    print(row(table.cases[a.case], a.target, a.table))
    packages = ("jax", *COMPILERS[a.target])
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in packages)
    print(f"On {a.target}, compiled, not run: {versions}.")


if __name__ == "__main__":
    main()
