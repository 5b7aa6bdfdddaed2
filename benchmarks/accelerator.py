"""What a GPU makes of it: training steps, the recurrence, encoders and the decoder.

  python -m benchmarks.accelerator            # about six minutes
  python -m benchmarks.accelerator --quick    # tiny, on what there is; says nothing

Needs PyTorch and transformers beside JAX, each with the GPU's libraries. Every part is
a process of its own under a time limit: one that fails or is cut is told in the page,
and the others go on. The page, benchmarks/results/accelerator.md or --out, is written
anew with every row. `accelerator_parts.py` is what the parts do.
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from benchmarks import pages

RESULTS = pathlib.Path(__file__).parent / "results" / "accelerator.md"
SIDES = "| what | side | ms, median | least to most | times the first |"
RATES = "| encoder | side | sound or speech, s a second | share of the peak |"
TOKENS = "| windows at once | side | ms a token | tokens a second |"


@dataclasses.dataclass(frozen=True)
class Part:
    """A process that prints rows.

    Attributes:
      name: For `accelerator_parts`.
      title: Its heading.
      text: What is measured, and how.
      columns: The head of its table.
      limit_s: Wall seconds it may take.
    """

    name: str
    title: str
    text: str
    columns: str
    limit_s: int


PARTS = (
    Part(
        "steps",
        "Training steps",
        "The authors' network in PyTorch against ours: forward, loss, backward, AdamW;"
        " hidden 512, dropout 0.5, every frame real; `together` per member of a step."
        " In float32 PyTorch's cuDNN takes TF32, as it does by default, for the"
        " recurrence; ours takes none.",
        SIDES,
        165,
    ),
    Part(
        "loops",
        "The recurrence",
        "Forward and backward pass of one stream's bidirectional GRU alone; PyTorch's"
        " is cuDNN's.",
        SIDES,
        25,
    ),
    Part(
        "encoders",
        "Encoders",
        "One pass over a batch that lies on the device, random weights, bfloat16,"
        " against transformers' model with PyTorch's fused attention where it has one;"
        " 30 s of sound a row for Whisper large-v3, 10 s for HuBERT large and WavLM"
        " large, 40 tokens for RoBERTa large. The peak is that of one large product in"
        " the same precision, by JAX; counted are the transformer's products.",
        RATES,
        105,
    ),
    Part(
        "decoder",
        "Whisper's decoder",
        "Large-v3's sizes, greedy, bfloat16, from the encoder's states on the device;"
        " transformers by `generate`.",
        TOKENS,
        78,
    ),
)


def command(part: Part, *, quick: bool) -> list[str]:
    """What runs a part."""
    module = [sys.executable, "-m", "benchmarks.accelerator_parts", part.name]
    return [*module, str(part.limit_s), *["--quick"] * quick]


def measure(
    part: Part, command: Sequence[str], on_row: Callable[[list[str]], None]
) -> list[str]:
    """Runs a part; its lines, the last of which says how it ended if not well.

    Args:
      part: Its limit is heeded.
      command: Prints rows, and a line that begins with "On" about the device.
      on_row: Told all lines until now, as each comes.
    """
    environment = os.environ | {
        "PYTHONUNBUFFERED": "1",
        # PyTorch takes the rest.
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5",
    }
    lines: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        limit = threading.Timer(part.limit_s, process.kill)
        limit.start()
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(("| ", "On ")):
                lines.append(line.rstrip())
                on_row(lines)
        code = process.wait()
        was_cut = not limit.is_alive()
        limit.cancel()
        errors.seek(0)
        said = errors.read().strip().splitlines()
    took_s = time.monotonic() - began
    if was_cut and code:
        lines.append(f"Cut at its limit of {part.limit_s} s.")
    elif code:
        print("\n".join(said[-30:]), flush=True)
        lines.append(f"Failed after {took_s:.0f} s: {said[-1] if said else code}")
    print(f"{part.name}: {took_s:.0f} s", flush=True)
    on_row(lines)
    return lines


def section(part: Part, lines: Sequence[str]) -> list[str]:
    """A part of the page."""
    rows = [line for line in lines if line.startswith("| ")]
    rest = [line for line in lines if not line.startswith("| ")]
    table = [part.columns, "|---" * (part.columns.count("|") - 1) + "|", *rows]
    told = [text for line in rest for text in (line, "")]
    return [f"## {part.title}", "", part.text, "", *table, "", *told]


def report(
    parts: Sequence[Part], out: pathlib.Path, *, quick: bool, began_as: Sequence[str]
) -> str:
    """Runs the parts in turn and returns the page, which is written all the while."""
    head = ["# On an accelerator", "", f"`{' '.join(began_as)}`", ""]
    if quick:
        head += ["A rehearsal in tiny sizes: its figures say nothing.", ""]
    sections: list[str] = []

    def save(lines: Sequence[str]) -> None:
        """All there is, so that a cut run loses nothing."""
        text = "\n".join([*head, *sections, *lines])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)

    for part in parts:
        lines = measure(
            part,
            command(part, quick=quick),
            lambda lines, part=part: save(section(part, lines)),
        )
        sections += section(part, lines)
    return "\n".join([*head, *sections])


def main() -> None:
    """Parses flags, measures, writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=[p.name for p in PARTS],
        default=[p.name for p in PARTS],
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    a = parser.parse_args()
    chosen = [p for p in PARTS if p.name in a.parts]
    if a.quick:  # Of tiny sizes what takes time is compiling, on however few cores.
        chosen = [dataclasses.replace(p, limit_s=300) for p in chosen]
    began_as = ["python -m benchmarks.accelerator", *sys.argv[1:]]
    page = report(chosen, a.out, quick=a.quick, began_as=began_as)
    pages.save(page, a.out)


if __name__ == "__main__":
    main()
