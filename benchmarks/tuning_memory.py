"""Memory of a training step through an encoder, as the compiler for an H100 has it.

  python -m benchmarks.tuning_memory
  python -m benchmarks.tuning_memory --encoders wavlm_large --batches 8 --seconds 5

Wants the environment of ahead.py and no device; encoders have their published sizes and
no weights. Each step is a process under a time limit. The page, --out or
benchmarks/results/tuning_memory.md, is written anew with every step, and keeps the
notes and the steps of runs before; which batches fit is by all that it has.
"""

import argparse
from collections.abc import Mapping, Sequence
from importlib import metadata
import itertools
import os
import pathlib
import sys
import time
from typing import Any, NamedTuple
from unittest import mock

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.stages import Lowered
import numpy as np
import optax

from benchmarks import accelerator, ahead, ahead_parts, encoder_sizes
from benchmarks.encoder_sizes import SAMPLE_RATE_HZ, SIZES, WINDOW_S, Size
from jser.training import lora

RESULTS = pathlib.Path(__file__).parent / "results" / "tuning_memory.md"
ENCODERS = {
    "wavlm_large": ("wavlm", SIZES["wavlm"]),
    "whisper_large_v3": ("whisper", SIZES["whisper"]),
    "hubert_xlarge": ("hubert", Size(1280, 48, 16, 5120)),
}
WHISPER_S = (10, WINDOW_S)  # A short context, and the whole one.
FROZEN, LORA, FULL = HOW = ("frozen", "lora", "full")
# What `full` does not train, by the kind of encoder.
HELD = {"wavlm": "conv", "hubert": "conv", "whisper": "position"}
COMPILERS = {**ahead_parts.COMPILERS, "cpu": ("jaxlib",)}
CLASSES = 8
HALF = jnp.dtype("bfloat16")
CARDS_GB = (16, 24, 40, 80)
USED = 0.9  # Of a card.
LIMIT_S = 300
HEAD = """\
# Memory of an encoder that learns

`python -m benchmarks.tuning_memory`

Compiled for an H100 on a computer that has none: nothing of this ran, and all figures
are of the compiler's own analysis. A step is the gradient of a linear head's loss on
the mean of the encoder's last states, then AdamW; products in bfloat16.

- `frozen`: the head alone learns; weights are bfloat16.
- `lora`: an adapter of rank 16 of the feed-forward, upper half, learns; weights are
  bfloat16; the blocks are computed again for the gradient (remat).
- `full`: the encoder learns, in float32 with AdamW's two moments and the gradient
  likewise, but for the convolutions of the waveform and Whisper's table of positions;
  the blocks are computed again, too.

In all is what weights, the optimiser's state, a batch and temporary memory take at
once, gaps included; the state is donated. A GB is 10^9 bytes. Not in it: what CUDA,
cuDNN and cuBLAS take for themselves, products and convolutions that are tuned on the
card, the next batch on its way. Attention is XLA's, which has all scores: cuDNN's,
which NVIDIA's GPUs run in bfloat16 and which has none, is not compiled without one, and
takes less. Whisper reads 30 s however short a sound is, or 10 s where its context is
cut. Compiling took as long as it did beside other work.

"""
COMPILED = "What was compiled"
FITS = f"""\
## What fits

The largest batch on cards of 16 to 80 GB of which {100 * USED:.0f} % are used, by lines
from each batch that was compiled to the next; in italics it is beyond the largest of
them. What is fixed, and what an utterance adds, is by a line through the least and the
largest. JAX takes 75 % of a card by itself: `XLA_PYTHON_CLIENT_MEM_FRACTION=.9`.
"""
COLUMNS = (
    "| encoder | seconds | how | batch | compiler | weights, state, batch, GB |"
    " temporary, GB | in all, GB | compiled in, s |"
)


class Case(NamedTuple):
    """A step, in the order of the page's columns."""

    encoder: str
    seconds: int
    how: str
    batch: int


class Found(NamedTuple):
    """What the compiler says of a step, in the order of the page's columns.

    Attributes:
      target: Whose compiler.
      arguments: GB of weights, the optimiser's state and a batch.
      temporary: GB of what else is allocated, gaps included.
      total: GB of both, and of what the step returns beside the state it was given.
      took_s: Seconds of compiling.
    """

    target: str
    arguments: float
    temporary: float
    total: float
    took_s: float


def cases(
    encoders: Sequence[str],
    seconds: Sequence[int],
    how: Sequence[str],
    batches: Sequence[int],
) -> list[Case]:
    """What is asked for; Whisper has lengths of its own."""
    return [
        Case(encoder, length, way, batch)
        for encoder in encoders
        for length in (WHISPER_S if ENCODERS[encoder][0] == "whisper" else seconds)
        for way in how
        for batch in batches
    ]


def inputs(kind: str, batch: int, seconds: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of what the module is called with."""
    shape = lambda dtype, *n: jax.ShapeDtypeStruct((batch, *n), dtype)
    if kind == "whisper":
        return (shape(jnp.float32, 100 * seconds, 128),)
    # The first frame sees 80 samples more.
    return shape(jnp.float32, SAMPLE_RATE_HZ * seconds + 80), shape(jnp.int32)


def lowered(
    mesh: Mesh, kind: str, size: Size, *, how: str, batch: int, seconds: int
) -> Lowered:
    """The gradient of a head's loss on the mean of the last states, and AdamW."""
    module: Any = encoder_sizes.module(kind, size, HALF).clone(remat=how != FROZEN)
    if kind == "whisper":
        module = module.clone(short=seconds < WINDOW_S)
    given = inputs(kind, batch, seconds)
    params = jax.eval_shape(module.init, jax.random.key(0), *given)["params"]
    learns = {k: x for k, x in params.items() if how == FULL and k != HELD[kind]}
    held = {k: x for k, x in params.items() if k not in learns}
    optimizer = optax.adamw(1e-5)

    def fresh(learns):
        kernel, bias = jnp.zeros((size.width, CLASSES)), jnp.zeros(CLASSES)
        values = {"encoder": learns, "head": {"kernel": kernel, "bias": bias}}
        if how == LORA:
            values["adapter"] = lora.init(lora.Recipe(), params, jax.random.key(0))
        return values, optimizer.init(values)

    def pooled(values, held, given):
        variables = {"params": {**held, **values["encoder"]}}
        if how == LORA:
            made = lora.apply(module, variables, values["adapter"], *given)
        else:
            made = module.apply(variables, *given)
        states, *mask = made if isinstance(made, tuple) else (made,)
        mean = states.mean(1, where=mask[0][..., None] if mask else True)
        return lax.stop_gradient(mean) if how == FROZEN else mean

    def loss(values, held, given, labels):
        head = values["head"]
        logits = pooled(values, held, given) @ head["kernel"] + head["bias"]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean()

    def step(state, held, given, labels):
        values, moments = state
        value, gradient = jax.value_and_grad(loss)(values, held, given, labels)
        updates, moments = optimizer.update(gradient, moments, values)
        return (optax.apply_updates(values, updates), moments), value

    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    state = jax.eval_shape(fresh, learns)
    arguments = state, ahead_parts.narrow(held, HALF), given, labels
    # On CPUs attention goes by blocks; that is asked of the computer here.
    with mock.patch.object(jax, "default_backend", return_value="another"):
        program = jax.jit(step, donate_argnums=0)
        return program.lower(*ahead_parts.on(mesh, arguments))


def measure(lowered: Lowered, target: str) -> Found:
    """Compiles a step."""
    began = time.monotonic()
    memory: Any = lowered.compile().memory_analysis()
    took_s = time.monotonic() - began
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    returned = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = arguments + temporary + returned
    return Found(target, arguments / 1e9, temporary / 1e9, total / 1e9, took_s)


def mesh(target: str) -> Mesh:
    """Of one device; that of another target than CPUs is not there."""
    if target != "cpu":
        return ahead_parts.mesh(target)
    devices = np.array(jax.devices("cpu")[:1]).reshape(1, 1)
    return Mesh(devices, ("members", "rows"))


def row(case: Case, found: Found) -> str:
    """Of the table of what was compiled."""
    sizes = (f"{x:.3f}" for x in (found.arguments, found.temporary, found.total))
    cells = (*map(str, case), found.target, *sizes, f"{found.took_s:.0f}")
    return f"| {' | '.join(cells)} |"


def read(lines: Sequence[str]) -> dict[Case, Found]:
    """What such rows say, of lines that may be others."""
    made = {}
    for line in lines:
        cells = line.strip("| ").split(" | ")
        # Rows of what fits are as long.
        if len(cells) == len(Case._fields + Found._fields) and cells[4] in COMPILERS:
            encoder, seconds, how, batch, target, *numbers = cells
            case = Case(encoder, int(seconds), how, int(batch))
            made[case] = Found(target, *map(float, numbers))
    return made


def fit(totals: Mapping[int, float]) -> tuple[float, float]:
    """GB without utterances, and of each, by the least and the largest batch."""
    least, most = min(totals), max(totals)
    each = (totals[most] - totals[least]) / (most - least)
    return totals[least] - least * each, each


def largest(totals: Mapping[int, float], card_gb: float) -> int:
    """The batch that a card has room for, perhaps 0.

    It is on the lines from each batch to the next, of which the ends are drawn out.
    """
    room = USED * card_gb
    first, *others = itertools.pairwise(sorted(totals))
    few, many = [first, *(x for x in others if totals[x[0]] <= room)][-1]
    each = (totals[many] - totals[few]) / (many - few)
    return max(0, int(few + (room - totals[few]) / each))


def fitting(found: Mapping[Case, Found]) -> list[str]:
    """The table of what fits, by all steps of which two batches were compiled."""
    totals: dict[tuple[str, int, str], dict[int, float]] = {}
    for case, said in found.items():
        totals.setdefault(case[:3], {})[case.batch] = said.total
    cards = " | ".join(f"{gb} GB" for gb in CARDS_GB)
    columns = f"| encoder | seconds | how | fixed, GB | an utterance, GB | {cards} |"
    lines = _head(columns)
    for key, by_batch in totals.items():
        if len(by_batch) > 1:
            fixed, each = fit(by_batch)
            batches = [largest(by_batch, gb) for gb in CARDS_GB]
            said = [
                f"*{n}*" if n > max(by_batch) else str(n or "none") for n in batches
            ]
            cells = (*map(str, key), f"{fixed:.2f}", f"{each:.3f}", *said)
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _head(columns: str) -> list[str]:
    return [columns, "|---" * (columns.count("|") - 1) + "|"]


def page(found: Mapping[Case, Found], told: Sequence[str], notes: str) -> str:
    """The results as Markdown."""
    ordered = {case: found[case] for case in sorted(found, key=_place)}
    rows = [row(case, said) for case, said in ordered.items()]
    lines = [FITS, *fitting(ordered), "", f"## {COMPILED}", ""]
    lines += [f"Each is cut at {LIMIT_S} s.", "", *_head(COLUMNS), *rows, ""]
    lines += [text for line in told for text in (line, "")]
    return (HEAD + "\n".join([*lines, notes])).rstrip() + "\n"


def _place(case: Case) -> tuple[int, ...]:
    encoder, seconds, how, batch = case
    return list(ENCODERS).index(encoder), seconds, HOW.index(how), batch


def report(chosen: Sequence[Case], target: str, out: pathlib.Path) -> None:
    """Compiles one step after the other and writes the page all the while."""
    before = out.read_text() if out.exists() else ""
    found, sections = read(before.splitlines()), ahead.sections(before)
    notes = sections.get("Notes", "")
    lines = sections.get(COMPILED, "").splitlines()
    told = [line for line in lines if line.startswith("On ")]
    for case in chosen:
        name = " ".join(map(str, case))
        command = [sys.executable, "-m", "benchmarks.tuning_memory"]
        command += ["--target", target, "--step", *map(str, case)]
        part = accelerator.Part(name, "", "", COLUMNS, LIMIT_S)
        lines = accelerator.measure(part, command, lambda lines: None)
        found |= read(lines)
        for line in lines:
            if line.startswith(("Cut", "Failed")):
                told.append(f"{name}: {line}")
            elif not line.startswith("| ") and line not in told:
                told.append(line)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(found, told, notes))


def print_step(case: Case, target: str) -> None:
    """Compiles a step here and prints its row."""
    options: dict[str, Any] = case._asdict()
    program = lowered(mesh(target), *ENCODERS[options.pop("encoder")], **options)
    print(row(case, measure(program, target)))
    packages = ("jax", *COMPILERS[target])
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in packages)
    print(f"On {target}, compiled, not run: {versions}.")


def main() -> None:
    """Parses flags, compiles, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = list(ENCODERS)
    parser.add_argument("--encoders", nargs="+", choices=names, default=names)
    parser.add_argument("--how", nargs="+", choices=HOW, default=HOW)
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32, 128])
    parser.add_argument(
        "--seconds", nargs="+", type=int, default=[5, 10, 15], help="but of Whisper"
    )
    parser.add_argument(
        "--target", choices=COMPILERS, default="h100", help="whose compiler"
    )
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.step:
        encoder, seconds, how, batch = a.step
        case = Case(encoder, int(seconds), how, int(batch))
        return print_step(case, a.target)
    os.environ.update(ahead.ENVIRONMENT)
    return report(cases(a.encoders, a.seconds, a.how, a.batches), a.target, a.out)


if __name__ == "__main__":
    main()
