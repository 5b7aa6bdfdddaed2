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

import jax
import jax.numpy as jnp
import torch

from benchmarks import encoder_sizes, real_sizes, sides
from benchmarks.encoder_sizes import REHEARSAL, SIZES
from benchmarks.sides import Shape
from jser.models import recurrence

Run = Callable[[], Any]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALVES = ("float32", "bfloat16")
MEMBERS = 12


class Clock:
    """The time that a part has; nine tenths are for making contestants."""

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
            if self.left_s(0.9 * share) < 0:
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


def steps(clock: Clock, *, quick: bool) -> None:
    """Training steps, at the paper's batch and at a larger one."""
    hidden, frames, members = (16, (6, 4), 2) if quick else (512, (300, 80), MEMBERS)
    small, large = (Shape(B, frames, hidden) for B in ((4, 8) if quick else (64, 256)))
    half = HALVES[1]
    many = f"jser {half}, {members} together"

    def makers(shape: Shape, more: dict[str, Callable[[], Run]]) -> dict[str, Any]:
        theirs = functools.partial(sides.theirs, shape, DEVICE)
        ours = lambda dtype: lambda: sides.ours(shape, dtype)[0]
        made = {f"torch {d}": functools.partial(theirs, d) for d in HALVES}
        made |= {f"jser {half}": ours(half)} | more
        return made | {f"jser {d}": ours(d) for d in ("tf32", "float32")}

    def told(shape: Shape) -> str:
        return f"{shape.batch} x {' + '.join(map(str, shape.frames))}"

    together = {many: lambda: sides.several(small, half, members)[0]}
    print_sides(told(small), clock.race(makers(small, together), 0.65), {many: members})
    print_sides(told(large), clock.race(makers(large, {})), {})


def _loop(dtype: str, shape: tuple[int, ...]) -> Run:
    """Gradients of a sum of states, by frames and by all parameters."""
    B, T, H = shape
    draw = lambda i, *n: jax.random.uniform(jax.random.key(i), n, minval=-0.05)
    x, weigh = jax.random.normal(jax.random.key(9), (B, T, H)), draw(8, B, T, 2 * H)
    ih, hh = ((draw(i, 2, H, 3 * H), draw(i, 2, 3 * H)) for i in (0, 1))

    @functools.partial(jax.grad, argnums=(0, 2, 3))
    def gradients(x, hold, ih, hh, weigh):
        (states,) = recurrence.bidirectional(dtype, [(x, hold, ih, hh)])
        return (states * weigh).sum()

    run = jax.jit(gradients)
    args = jax.device_put((x, jnp.zeros((B, T)), ih, hh, weigh))
    return lambda: jax.block_until_ready(run(*args))


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


def loops(clock: Clock, *, quick: bool) -> None:
    """The recurrence alone."""
    shape = (2, 9, 8) if quick else (64, 300, 512)
    what = f"{shape[0]} x {shape[1]}, {shape[2]} wide"
    rounded = {"float32": "tf32"}  # As cuDNN and XLA do with it, unless asked not to.
    for k, dtype in enumerate(HALVES[::-1], 1):
        name = rounded.get(dtype, dtype)
        makers = {
            f"torch {name}": functools.partial(_torch_loop, dtype, shape),
            f"jser {name}": functools.partial(_loop, dtype, shape),
        }
        print_sides(what, clock.race(makers, k / 2), {})


def _peak(dtype: str, n: int) -> float:
    """FLOP/s of one large product."""
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.dtype(dtype))
    run = jax.jit(jnp.matmul)
    jax.block_until_ready(run(a, a))
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(run(a, a))
        taken.append(time.perf_counter() - began)
    return 2 * n**3 / statistics.median(taken)


def encoders(clock: Clock, *, quick: bool) -> None:
    """Those that PyTorch is raced with, in bfloat16."""
    n, d = 256 if quick else 8192, HALVES[1]
    peak = _peak(d, n)
    print(f"On a product of {n} x {n}: {peak / 1e12:.0f} TFLOP/s in {d}.")
    rows = {"whisper": 16, "hubert": 32, "wavlm": 32, "roberta": 256}
    for k, kind in enumerate(rows, 1):
        size, batch = (REHEARSAL, 2) if quick else (SIZES[kind], rows[kind])
        args = kind, size, batch, d
        taken = clock.race(
            {
                "torch": functools.partial(real_sizes.theirs, *args, DEVICE),
                "jser": functools.partial(real_sizes.ours, *args),
            },
            (k + 1) / (len(rows) + 1),
        )
        flop = batch * size.flop(encoder_sizes.frames(kind))
        for side, seconds in taken.items():
            median = statistics.median(seconds)
            rate = batch * encoder_sizes.seconds(kind) / median
            share = flop / median / peak
            print(f"| {kind} | {side} {d} | {rate:,.0f} | {share:.0%} |")
        jax.clear_caches()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def decoder(clock: Clock, *, quick: bool) -> None:
    """So many tokens, of one window and of several."""
    size, tokens = (REHEARSAL, 3) if quick else (SIZES["whisper"], 64)
    dtype, batches = HALVES[1], (1, 2 if quick else 16)
    for k, batch in enumerate(batches, 1):
        args = size, batch, tokens, dtype
        taken = clock.race(
            {
                "torch": functools.partial(real_sizes.their_decoder, *args, DEVICE),
                "jser": functools.partial(real_sizes.our_decoder, *args),
            },
            (k + 1) / (len(batches) + 1),
        )
        for side, seconds in taken.items():
            median = statistics.median(seconds)
            ms, rate = 1e3 * median / tokens, batch * tokens / median
            print(f"| {batch} | {side} {dtype} | {ms:.2f} | {rate:,.0f} |")


MEASURES = {"steps": steps, "loops": loops, "encoders": encoders, "decoder": decoder}
ROUNDS = {"steps": 10, "loops": 20, "encoders": 7, "decoder": 3}


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
