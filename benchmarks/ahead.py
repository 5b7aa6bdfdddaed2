"""What compilers for accelerators make of it, on a computer that has none.

  python -m benchmarks.ahead                  # all targets
  python -m benchmarks.ahead --target h100
  python -m benchmarks.ahead --target v5e --tables recurrence

Wants an environment of its own, with what benchmarks/requirements-ahead.txt names. Each
program is a process under a time limit: one that fails or is cut is told in the page,
and the others go on. The page, benchmarks/results/ahead.md or --out, is written anew
with every row; tables that are not asked for stay as they were. `ahead_parts.py`
compiles, `ahead_text.py` counts.
"""

import argparse
from collections.abc import Callable
import dataclasses
import os
import pathlib
import re
import sys
from typing import Any

from benchmarks import accelerator

RESULTS = pathlib.Path(__file__).parent / "results" / "ahead.md"
HEAD = """\
# Ahead of an accelerator

`python -m benchmarks.ahead`

Compiled for accelerators on a computer that has none; nothing of this ran on one. All
figures are the compiler's but for what is called an estimate. An H100 is the limits of
the card with 80 GB, benchmarks/h100.txtpb; XLA's own spec of it also has the rates of
its units. Without the card nothing is tuned for it, so that there its products may be
other kernels. A TPU's cycles are of the cost model that its
compiler writes into its text; v5e has 1.5 of them a nanosecond. GFLOP and GB moved are
of XLA's cost analysis, which does not look into cuDNN's convolutions; each round of a
loop counts. Temporary memory is what is allocated, gaps included; the peak, with
arguments, is what is in use at once. Launching is an estimate: kernels, one after the
other, at 2.5 to 3.5 microseconds. Compiling took as long as it did beside other work.

"""
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # There is no driver to fit.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
LAUNCH_US = (2.5, 3.5)  # Of a kernel that waits for the one before it.


@dataclasses.dataclass(frozen=True)
class Case:
    """A program.

    Attributes:
      what: The first column of its row.
      make: What makes it, by name, of `ahead_parts`.
      options: For that.
    """

    what: str
    make: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Table(accelerator.Part):
    """Programs, each of which has the time limit to itself."""

    cases: tuple[Case, ...]


def _loop(what: str, **options: Any) -> Case:
    return Case(what, "loop", options)


def _step(what: str, **options: Any) -> Case:
    return Case(what, "step", options)


GPU = "| {} | kernels | loops: rounds x kernels | {}GFLOP | GB moved |"
TPU = "| {} | million cycles | loops: rounds x cycles | {}GFLOP | GB moved |"
BY_STEP = "a time step, forward + backward | "
LAUNCHED = f"{BY_STEP}launching, ms, estimate | collectives | "
USED = " temporary, GB | peak, GB | compiled in, s |"
STEPS, FRAMES = "recurrence_time_major", "recurrence_batch_major"
LOOPS = (
    _loop("CPUs' loop, bf16", loop=FRAMES, precision="bf16"),
    _loop("accelerators' loop, bf16", loop=STEPS, precision="bf16"),
    _loop("the same, products as XLA likes", loop=STEPS, precision="bf16", asks=False),
    _loop("accelerators' loop, tf32", loop=STEPS, precision="tf32"),
    _loop("accelerators' loop, float32", loop=STEPS, precision="float32"),
)
TRAINING = (
    _step("bf16", precision="bf16"),
    _step("tf32", precision="tf32"),
    _step("float32", precision="float32"),
    _step("bf16, 12 together", precision="bf16", members=12),
    _step("bf16 on 8 devices", precision="bf16", devices=8),
    _step("bf16, 12 together on 8", precision="bf16", members=12, devices=8),
    _step("predict, bf16", precision="bf16", predicts=True),
    _step("predict, float32", precision="float32", predicts=True),
)
GROWTH = tuple(
    _step(
        f"{B} x {T}, {M or 1}",
        precision="bf16",
        batch=B,
        frames=(T, 80),
        members=M,
    )
    for M in (0, 12)
    for B in (64, 256)
    for T in (300, 1500)
)
ENCODERS = tuple(
    Case(f"{kind}, {B} x {length}", "encoder", {"kind": kind, "batch": B})
    for kind, B, length in (
        ("whisper", 16, "30 s"),
        ("wavlm", 32, "10 s"),
        ("hubert", 32, "10 s"),
        ("roberta", 256, "40 tokens"),
        ("deberta", 256, "40 tokens"),
        ("facodec", 32, "10 s"),
    )
)


def _tables(
    columns: str, by_step: str, limits_s: tuple[int, int], training: tuple[Case, ...]
) -> tuple[Table, ...]:
    """Of a target: its columns, with those of recurrences, limits, training steps."""
    limit_s, steps_limit_s = limits_s
    return (
        Table(
            "recurrence",
            "The recurrence",
            "Forward and backward pass of one stream's bidirectional GRU alone, 64 x"
            " 300 frames, 512 wide.",
            columns.format("loop", by_step) + USED,
            limit_s,
            LOOPS,
        ),
        Table(
            "steps",
            "Training steps",
            "Forward, loss, backward, AdamW of the paper's network, 64 x 300 + 80"
            " frames, hidden 512; `together` of twelve members in one step.",
            columns.format("step", by_step) + USED,
            steps_limit_s,
            training,
        ),
        Table(
            "encoders",
            "Encoders",
            "A pass in bfloat16 (FACodec's in float32) of Whisper large-v3, WavLM"
            " large, HuBERT large, RoBERTa large and DeBERTa-v3 large; the loop is over"
            " their blocks. Attention is XLA's: cuDNN's, which NVIDIA's GPUs run, is"
            " not compiled without one.",
            columns.format("encoder", "") + USED,
            limit_s,
            ENCODERS,
        ),
    )


MEMORY = Table(
    "memory",
    "Memory of a training step",
    "In bf16, with 80 frames of text; the card has 80 GB.",
    f"| utterances x frames, members | arguments, GB |{USED}",
    300,
    GROWTH,
)
TARGETS = {
    "h100": (*_tables(GPU, LAUNCHED, (300, 300), TRAINING), MEMORY),
    "v5e": _tables(TPU, BY_STEP, (300, 600), TRAINING[:1]),
    "v6e": _tables(TPU, BY_STEP, (300, 600), TRAINING[:1]),
}


def heading(target: str, table: Table) -> str:
    """Of a table in the page."""
    return f"{table.title}, {target}"


def compiled(target: str, table: Table, save: Callable[[list[str]], None]) -> list[str]:
    """Compiles the programs of a table in turn; its section, saved with every row."""
    lines: list[str] = []
    limited = f"{table.text} Each is cut at {table.limit_s} s."
    shown = dataclasses.replace(table, title=heading(target, table), text=limited)
    module = [sys.executable, "-m", "benchmarks.ahead_parts", target, table.name]
    for k, case in enumerate(table.cases):
        told = accelerator.measure(table, [*module, str(k)], lambda lines: None)
        for line in told:
            ended = line.startswith(("Cut", "Failed"))
            lines += [f"{case.what}: {line}" if ended else line] * (line not in lines)
        save(accelerator.section(shown, lines))
    return accelerator.section(shown, lines)


def sections(page: str) -> dict[str, str]:
    """Texts of a page by their headings."""
    parts = re.split(r"^## ", page, flags=re.M)[1:]
    return {part.partition("\n")[0]: f"## {part}" for part in parts}


def report(chosen: dict[str, list[Table]], out: pathlib.Path) -> None:
    """Compiles what is chosen of each target and writes the page all the while."""
    found = sections(out.read_text()) if out.exists() else {}
    order = [heading(target, t) for target, tables in TARGETS.items() for t in tables]

    def save(name: str, lines: list[str]) -> None:
        found[name] = "\n".join(lines).rstrip() + "\n\n"
        parts = [found[name] for name in order if name in found]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(HEAD + "".join(parts).rstrip() + "\n")

    for target, tables in chosen.items():
        for table in tables:
            name = heading(target, table)
            compiled(target, table, lambda lines, name=name: save(name, lines))


def main() -> None:
    """Parses flags, compiles, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    names = sorted({t.name for tables in TARGETS.values() for t in tables})
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    a = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    chosen = {
        target: [t for t in TARGETS[target] if t.name in a.tables]
        for target in a.target
    }
    report(chosen, a.out)


if __name__ == "__main__":
    main()
