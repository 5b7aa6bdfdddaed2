"""How long answers of `jser serve` take, alone and twenty at a time.

    python -m benchmarks.serve --model emodb-functionals my.wav

The same sound is sent 200 times by one asker, then by twenty at a time, to a server of
this machine. Printed are the answers that were lost, the median and the 99th percentile
of the time from request to answer, and answers a second.
"""

import argparse
from collections.abc import Sequence
from concurrent import futures
import contextlib
import pathlib
import subprocess
import sys
import time

import httpx2
import numpy as np

_TIMEOUT_S = 300.0


def measure(
    client: httpx2.Client, sound: bytes, *, requests: int, at_once: int
) -> tuple[int, np.ndarray, float]:
    """Answers lost, seconds [n] of the others, and seconds of all together."""

    def ask(_: int) -> float | None:
        begun = time.perf_counter()
        with contextlib.suppress(httpx2.TransportError):
            if client.post("/recognize", content=sound).status_code == 200:
                return time.perf_counter() - begun
        return None

    begun = time.perf_counter()
    with futures.ThreadPoolExecutor(at_once) as pool:
        took = list(pool.map(ask, range(requests)))
    kept = [seconds for seconds in took if seconds is not None]
    return len(took) - len(kept), np.array(kept), time.perf_counter() - begun


def page(client: httpx2.Client, sound: bytes, *, requests: int) -> list[str]:
    """A table of both ways to ask, after two requests that do not count."""
    measure(client, sound, requests=2, at_once=1)
    rows = [
        "| at a time | lost | p50 ms | p99 ms | a second |",
        "|---|---|---|---|---|",
    ]
    for at_once in (1, 20):
        lost, took, all_s = measure(client, sound, requests=requests, at_once=at_once)
        p50, p99 = 1000 * np.percentile(took, [50, 99])
        rate = len(took) / all_s
        rows.append(f"| {at_once} | {lost} | {p50:.0f} | {p99:.0f} | {rate:.1f} |")
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Serves the model, asks, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sound", type=pathlib.Path)
    parser.add_argument("--model", default="emodb-functionals")
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args(argv)
    command = [
        sys.executable,
        "-m",
        "jser",
        "serve",
        "--port=0",
        "--model",
        given.model,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split(": ", 1)[1].strip()
            with httpx2.Client(base_url=url, timeout=_TIMEOUT_S) as client:
                sound = given.sound.read_bytes()
                print("\n".join(page(client, sound, requests=given.requests)))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
