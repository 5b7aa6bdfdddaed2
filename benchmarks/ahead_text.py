"""What XLA's text of a compiled program says: kernels, loops, cycles, collectives.

Of a loop that takes several steps in its body, as of one whose number of rounds is
known, all rounds count.
"""

from collections import Counter
from collections.abc import Callable, Iterator
import dataclasses
import functools
import re
from typing import NamedTuple

COLLECTIVES = (
    *("all-reduce", "all-gather", "all-to-all"),
    *("collective-permute", "reduce-scatter"),
)
# What a device is not asked to do: names, views, and the ends of what has begun.
_FREE = {
    *("parameter", "get-tuple-element", "tuple", "constant", "bitcast", "after-all"),
    *("add-dependency", "opt-barrier", "partition-id", "replica-id"),
}
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(")


class Instruction(NamedTuple):
    """A line of the text."""

    opcode: str
    line: str

    def named(self, key: str) -> str:
        """The computation that `key=` names, or nothing."""
        found = re.search(rf"{key}=%?([\w.\-]+)", self.line)
        return found[1] if found else ""

    @property
    def cycles(self) -> int:
        """By the cost model of TPUs' compiler; 0 where it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.line)
        return int(found[1]) if found else 0


class Loop(NamedTuple):
    """A loop that the device runs.

    Attributes:
      rounds: How often.
      body: The computation of a round.
      backward: Whether it is of a gradient.
    """

    rounds: int
    body: str
    backward: bool


@dataclasses.dataclass(frozen=True)
class Text:
    """A compiled program, `compiled.as_text()`."""

    text: str

    @functools.cached_property
    def computations(self) -> dict[str, list[Instruction]]:
        """Instructions by the name of their computation; that of all of it is ""."""
        made: dict[str, list[Instruction]] = {}
        lines: list[Instruction] | None = None
        for line in self.text.splitlines():
            if head := _COMPUTATION.match(line):
                lines = made.setdefault("" if head[1] else head[2], [])
            elif line.startswith("}"):
                lines = None
            elif lines is not None and (found := _INSTRUCTION.match(line.strip())):
                lines.append(Instruction(found[1], line.strip()))
        return made

    def loops(self, computation: str = "") -> list[Loop]:
        """Those of a computation, without those in their bodies."""
        return [
            Loop(self._rounds(x), x.named("body"), "transpose(" in x.line)
            for x in self._run(computation)
            if x.opcode == "while"
        ]

    def kernels(self, computation: str = "") -> int:
        """What is launched one after the other, on a GPU."""
        return self._sum(computation, lambda x: int(_is_launched(x)))

    def cycles(self, computation: str = "") -> int:
        """On a TPU, by its compiler's cost model."""
        return self._sum(computation, lambda x: x.cycles)

    def collectives(self) -> Counter[str]:
        """What devices tell each other, by kind."""
        opcodes = [
            x.opcode.removesuffix("-start")
            for instructions in self.computations.values()
            for x in instructions
        ]
        return Counter(x for x in opcodes if x in COLLECTIVES)

    def module(self, computation: str) -> str:
        """The text of a program that is this computation alone."""
        # XLA writes it of collectives that run beside the rest, and does not read it.
        text = re.sub(
            r", output_to_operand_aliasing=\{\{1\}: \(0, \{\}\)\}", "", self.text
        )
        if not computation:
            return text
        body = text[text.index("\n%") :]
        body = re.sub(r"^ENTRY ", "", body, flags=re.M)
        body = re.sub(r", metadata=\{(?:\"[^\"]*\"|[^}\"])*\}", "", body)
        name = f"%{computation} ("
        return "HloModule body\n" + body.replace(f"\n{name}", f"\nENTRY {name}")

    def _rounds(self, loop: Instruction) -> int:
        """As the loop says, or what its counter is compared with."""
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.line):
            return int(known[1])
        condition = self.computations[loop.named("condition")]
        ends = [re.search(r" constant\((\d+)\)", x.line) for x in condition]
        (end,) = (x[1] for x in ends if x)
        return int(end)

    def _sum(self, computation: str, value: Callable[[Instruction], int]) -> int:
        loops = sum(
            x.rounds * self._sum(x.body, value) for x in self.loops(computation)
        )
        return loops + sum(map(value, self._run(computation)))

    def _run(self, computation: str) -> Iterator[Instruction]:
        """A computation's instructions, those of what it calls in their place."""
        for x in self.computations[computation]:
            if x.opcode == "call":
                yield from self._run(x.named("to_apply"))
            else:
                yield x


def _is_launched(x: Instruction) -> bool:
    return x.opcode not in _FREE | {"while"} and not x.opcode.endswith("-done")
