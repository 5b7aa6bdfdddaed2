"""Damage to the bytes of a file, drawn by a seed: what disks, networks and hands do."""

from collections.abc import Callable
import json
import random
from typing import Any

_WIDTHS = (1, 2, 4, 8)  # Of length fields.
_ODD = (
    *(None, True, -1, 0, 1, 1 << 31, 1 << 63, 10**30, 1e308, float("inf"), 0.5),
    *("", "x", "../x", "\0", "\ud800", "\n", "=1", [], {}, [[]], {"": None}, [None]),
)


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 1, 4, 32))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _range(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 512)))


def _delete(data: bytearray, rng: random.Random) -> bytearray:
    start, stop = _range(data, rng)
    return data[:start] + data[stop:]


def _double(data: bytearray, rng: random.Random) -> bytearray:
    start, stop = _range(data, rng)
    return data[:stop] + data[start:]


def _swap(data: bytearray, rng: random.Random) -> bytearray:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _zero(data: bytearray, rng: random.Random) -> bytearray:
    start, stop = _range(data, rng)
    data[start:stop] = bytes(stop - start)
    return data


def _extreme(data: bytearray, rng: random.Random) -> bytearray:
    """A field of a length set to 0, to the largest, or near; most are at the front."""
    width, order = rng.choice(_WIDTHS), rng.choice(("little", "big"))
    top = 1 << 8 * width
    value = rng.choice((0, 1, top - 1, top - 2, top // 2, top // 2 - 1))
    at = rng.randrange(min(len(data), rng.choice((16, 64, len(data)))))
    data[at : at + width] = value.to_bytes(width, order)
    return data


def _odd_value(data: bytearray, rng: random.Random) -> bytearray:
    """JSON whose form is good: a value is another, or a field is gone."""
    try:
        tree: Any = json.loads(data)
    except ValueError:
        return _flip(data, rng)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(tree, dict | list):
        walk(tree)
    if not places or rng.random() < 0.05:
        tree = rng.choice(_ODD)
    else:
        node, key = rng.choice(places)
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(_ODD)
    return bytearray(json.dumps(tree).encode())


KINDS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(_flip, _cut, _delete, _double, _swap, _zero, _extreme, _odd_value),
)


def mutated(data: bytes, seed: int) -> bytes:
    """The data with one damage, or now and then with several."""
    rng = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if damaged:
            damaged = rng.choice(KINDS)(damaged, rng)
    return bytes(damaged)
