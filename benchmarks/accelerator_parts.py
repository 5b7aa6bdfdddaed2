"""The parts of accelerator.py: each prints the rows of one table.

  python -m benchmarks.accelerator_parts loops 60 --quick

Contestants are made and run once one after the other, then take turns. Those that can
not be made, or no longer in the time there is, are told in their rows.
"""

import argparse
from collections.abc import Callable
import functools
import statistics
import time
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import torch

from benchmarks import real_sizes, sides
from benchmarks.real_sizes import REHEARSAL, SIZES
from benchmarks.sides import Shape
from jser.models import recurrence, recurrence_time_major
from jser.models.recurrence_time_major import Loop

Run = Callable[[], Any]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALVES = ("float32", "bfloat16")
MEMBERS = 12
LOOPS = (Loop(1), Loop(4), Loop(16), Loop(4, recompute=False))


class Clock:
    """The time that a part has; the first two thirds are for making contestants."""

    def __init__(self, limit_s: float, rounds: int):
        self.began, self.limit_s, self.rounds = time.monotonic(), limit_s, rounds

    def left_s(self, share: float = 1.0) -> float:
        """Of a share of the limit, less 5 s for what cannot be interrupted."""
        return self.began + share * self.limit_s - 5 - time.monotonic()

    def race(
        self, makers: dict[str, Callable[[], Run]], share: float = 1.0
    ) -> dict[str, list[float]]:
        """Seconds of every run of each, by turns.

        Args:
          makers: By side; what they make returns when all of it is done.
          share: Of the part's time, when this race is to have ended.
        """
        made: dict[str, Run] = {}
        for side, make in makers.items():
            if self.left_s(0.8 * share) < 0:
                print(f"| | {side} | left out: no time |")
                continue
            began = time.monotonic()
            try:
                run = make()
                run()
                run()
            except Exception as e:
                said = str(e).strip().splitlines() or [""]
                print(f"| | {side} | {type(e).__name__}: {said[0][:200]} |")
                continue
            print(f"  {side}: ready in {time.monotonic() - began:.1f} s")
            made[side] = run
        taken: dict[str, list[float]] = {side: [] for side in made}
        for k in range(self.rounds):
            if k and self.left_s(share) < 0:
                break
            for side, run in made.items():
                began = time.perf_counter()
                run()
                taken[side].append(time.perf_counter() - began)
        return taken


def print_sides(what: str, taken: dict[str, list[float]], per: dict[str, int]) -> None:
    """Rows of time against the first side's; `per` divides a side's."""
    if not taken:
        return
    first = statistics.median(next(iter(taken.values())))
    for side, seconds in taken.items():
        n = per.get(side, 1)
        ms = [1e3 * x / n for x in (min(seconds), max(seconds))]
        median = statistics.median(seconds) / n
        print(
            f"| {what} | {side} | {1e3 * median:.2f} | {ms[0]:.2f} to {ms[1]:.2f} |"
            f" {first / median:.2f} |"
        )


def _ours(shape: Shape, dtype: str, loop: Loop | None, members: int = 1) -> Run:
    """A training step, by the other loop if one is given."""
    other = functools.partial(recurrence_time_major.bidirectional, loop)
    used = other if loop else recurrence.bidirectional
    jax.clear_caches()  # It would take one loop for the other.
    with mock.patch.object(recurrence, "bidirectional", used):
        if members > 1:
            return sides.several(shape, dtype, members)[0]
        return sides.ours(shape, dtype)[0]


def steps(clock: Clock, *, quick: bool) -> None:
    """Training steps, at the paper's batch and at a larger one."""
    hidden, frames, members = (16, (6, 4), 2) if quick else (512, (300, 80), MEMBERS)
    small, large = (Shape(B, frames, hidden) for B in ((4, 8) if quick else (64, 256)))
    theirs = lambda shape, dtype, compiled=False: sides.theirs(
        shape, DEVICE, dtype, compiled
    )
    loop, half = Loop(4), "bfloat16"
    many = f"jser {half}, {members} together"

    def makers(shape: Shape) -> dict[str, Callable[[], Run]]:
        eager = {f"torch {d}": functools.partial(theirs, shape, d) for d in HALVES}
        now = {f"jser {d}": functools.partial(_ours, shape, d, None) for d in HALVES}
        return (
            eager
            | now
            | {
                f"jser {half}, time-major": lambda: _ours(shape, half, loop),
                "jser float32, time-major": lambda: _ours(shape, "float32", loop),
            }
        )

    def told(shape: Shape) -> str:
        return f"{shape.batch} x {' + '.join(map(str, shape.frames))}"

    both = makers(small) | {
        many: lambda: _ours(small, half, None, members),
        f"{many}, time-major": lambda: _ours(small, half, loop, members),
    }
    per = {side: members for side in both if "together" in side}
    print_sides(told(small), clock.race(both, 0.6), per)
    few = {k: v for k, v in makers(large).items() if "float32" not in k or "torch" in k}
    print_sides(told(large), clock.race(few, 0.85), {})
    if DEVICE == "cuda":
        last = {
            "torch bfloat16": lambda: theirs(small, half),
            "torch.compile bfloat16": lambda: theirs(small, half, compiled=True),
        }
        print_sides(told(small), clock.race(last), {})


def _loop(
    bidirectional: Callable, dtype: str, shape: tuple[int, ...], exact: bool = False
) -> Run:
    """Gradients of a sum of states, by frames and by all parameters."""
    B, T, H = shape
    draw = lambda i, *n: jax.random.uniform(jax.random.key(i), n, minval=-0.05)
    x, weigh = jax.random.normal(jax.random.key(9), (B, T, H)), draw(8, B, T, 2 * H)
    ih, hh = ((draw(i, 2, H, 3 * H), draw(i, 2, 3 * H)) for i in (0, 1))

    @functools.partial(jax.grad, argnums=(0, 2, 3))
    def gradients(x, hold, ih, hh, weigh):
        return (bidirectional(dtype, x, hold, ih, hh) * weigh).sum()

    with jax.default_matmul_precision("highest" if exact else None):
        run = jax.jit(gradients)
        args = jax.device_put((x, jnp.zeros((B, T)), ih, hh, weigh))
        compiled = run.lower(*args).compile()
    return lambda: jax.block_until_ready(compiled(*args))


def _torch_loop(dtype: str, shape: tuple[int, ...]) -> Run:
    """The same by PyTorch."""
    (B, T, H), half = shape, getattr(torch, dtype)
    gru = torch.nn.GRU(H, H, batch_first=True, bidirectional=True).to(DEVICE, half)
    x = torch.randn(B, T, H, device=DEVICE, dtype=half, requires_grad=True)
    weigh = torch.randn(B, T, 2 * H, device=DEVICE, dtype=half)

    def run() -> None:
        gru.zero_grad()
        gru(x)[0].backward(weigh)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def loops(clock: Clock, *, quick: bool, graphs: bool = False) -> None:
    """The recurrence alone."""
    shape = (2, 9, 8) if quick else (64, 300, 512)
    what = f"{shape[0]} x {shape[1]}, {shape[2]} wide"

    def makers(dtype: str) -> dict[str, Callable[[], Run]]:
        now = recurrence.bidirectional
        ours: dict[str, Callable[[], Run]] = {
            f"now, {dtype}": lambda: _loop(now, dtype, shape)
        }
        for loop in LOOPS:
            told = f"{loop.unroll} steps, {'again' if loop.recompute else 'saved'}"
            by = functools.partial(recurrence_time_major.bidirectional, loop)
            make = functools.partial(_loop, by, dtype, shape)
            ours[f"time-major, {told}, {dtype}"] = make
            if dtype == "float32" and loop == Loop():
                exact = functools.partial(make, exact=True)
                ours[f"time-major, {told}, {dtype} exact"] = exact
        return {f"torch, {dtype}": lambda: _torch_loop(dtype, shape)} | ours

    print_sides(what, clock.race(makers("bfloat16"), 0.5 + 0.5 * graphs), {})
    if not graphs:
        print_sides(what, clock.race(makers("float32")), {})


def _peak(dtype: str, n: int) -> float:
    """FLOP/s of one large product."""
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.dtype(dtype))
    exact = "highest" if dtype == "float32" else None
    run = jax.jit(functools.partial(jnp.matmul, precision=exact))
    jax.block_until_ready(run(a, a))
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(run(a, a))
        taken.append(time.perf_counter() - began)
    return 2 * n**3 / statistics.median(taken)


def encoders(clock: Clock, *, quick: bool) -> None:
    """All of real_sizes, in both precisions."""
    n = 256 if quick else 8192
    peak = {d: _peak(d, n) for d in HALVES}
    told = ", ".join(f"{peak[d] / 1e12:.0f} TFLOP/s in {d}" for d in HALVES)
    print(f"On a product of {n} x {n}: {told}.")
    rows = {"whisper": 16, "hubert": 32, "wavlm": 32, "roberta": 256}
    turns = [(d, kind) for d in HALVES[::-1] for kind in rows]
    for k, (d, kind) in enumerate(turns, 1):
        size, batch = (REHEARSAL, 2) if quick else (SIZES[kind], rows[kind])
        args = kind, size, batch, d
        taken = clock.race(
            {
                "torch": functools.partial(real_sizes.theirs, *args, DEVICE),
                "jser": functools.partial(real_sizes.ours, *args),
            },
            (k + 2) / (len(turns) + 2),
        )
        flop = batch * size.flop(real_sizes.frames(kind))
        for side, seconds in taken.items():
            median = statistics.median(seconds)
            rate = batch * real_sizes.seconds(kind) / median
            share = flop / median / peak[d]
            print(f"| {kind} | {side} {d} | {rate:,.0f} | {share:.0%} |")
        jax.clear_caches()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def decoder(clock: Clock, *, quick: bool) -> None:
    """So many tokens, of one window and of several."""
    size, tokens = (REHEARSAL, 3) if quick else (SIZES["whisper"], 64)
    turns = [("bfloat16", 1), ("bfloat16", 2 if quick else 16), ("float32", 1)]
    for k, (dtype, batch) in enumerate(turns, 1):
        args = size, batch, tokens, dtype
        taken = clock.race(
            {
                "torch": functools.partial(real_sizes.their_decoder, *args, DEVICE),
                "jser": functools.partial(real_sizes.our_decoder, *args),
            },
            k / len(turns),
        )
        for side, seconds in taken.items():
            median = statistics.median(seconds)
            ms, rate = 1e3 * median / tokens, batch * tokens / median
            print(f"| {batch} | {side} {dtype} | {ms:.2f} | {rate:,.0f} |")


MEASURES = {
    "steps": steps,
    "loops": loops,
    "loops_in_graphs": functools.partial(loops, graphs=True),
    "encoders": encoders,
    "decoder": decoder,
}
ROUNDS = {"steps": 10, "loops": 20, "loops_in_graphs": 20, "encoders": 7, "decoder": 3}


def main() -> None:
    """Prints the rows of a part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=MEASURES)
    parser.add_argument("limit_s", type=float)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    a = parser.parse_args()
    clock = Clock(a.limit_s, 1 if a.quick else ROUNDS[a.part])
    device = jax.devices()[0].device_kind
    print(f"On {device}: jax {jax.__version__}, PyTorch {torch.__version__}.")
    MEASURES[a.part](clock, quick=a.quick)


if __name__ == "__main__":
    main()
