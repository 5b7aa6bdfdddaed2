"""Imports only go down the floors of the house, and heavy ones stay in their rooms.

`python -m tests.test_floors` counts rooms, arrows, arrows that climb, and circles.
"""

import ast
from collections.abc import Iterator
import pathlib
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "jser"
# From the ground up. A room is a folder, or a file in jser/ itself. It imports
# from the floors below its own, and from no neighbour.
FLOORS = (
    {"audio", "console", "emotions", "files", "front_end_table", "shapes"},
    {"config"},
    {"config_files"},
    {"overrides", "recipes", "roots"},
    {"corpora", "encoders", "models", "statistics"},
    {"ensemble", "features"},
    {"data"},
    {"training"},
    {"report"},
    {"pipeline"},
    {"commands"},
    {"__main__"},
)
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
# The only places that may import a library, by the beginnings of their names.
PLACES_OF = {
    "torch": ("encoders.torch_backend",),
    "transformers": ("encoders",),
    "sklearn": ("ensemble",),
    "tensorflow": (),
    "librosa": ("features.acoustic", "corpora.voice", "encoders.whisper"),
    "pickle": (),
    "joblib": (),
}
WITHOUT_JAX = (
    *("config", "ensemble.combiners", "ensemble.logits", "ensemble.stacking"),
    *("files", "report.charts", "report.page", "report.submission", "statistics"),
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: pathlib.Path) -> str:
    """`corpora.tables` of jser/corpora/tables.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def arrows() -> Iterator[tuple[str, str, str]]:
    """Place, room and imported room of every import from another room of jser."""
    for path in MODULES:
        room = name_of(path).partition(".")[0]
        for line, name in imports(path):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top == "jser" and other in FLOOR and other != room and room:
                yield f"{path.relative_to(ROOT)}:{line}", room, other


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_room_stands_on_a_floor(path):
    room = name_of(path).partition(".")[0]
    assert room in FLOOR or not room, f"{path}: add {room} to FLOORS"


def test_imports_go_down():
    bad = [
        f"{place}: {room} must not import {other}, which is not on a floor below"
        for place, room, other in arrows()
        if FLOOR[other] >= FLOOR[room]
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_imports_stay_in_their_rooms(path):
    for line, name in imports(path):
        where = f"{path.relative_to(ROOT)}:{line}"
        places = PLACES_OF.get(name.partition(".")[0], ("",))
        assert name_of(path).startswith(places), f"{where} must not import {name}"
        of_commands = name_of(path).startswith("commands.")
        assert of_commands or name != "absl.flags", f"{where}: no flags here"


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_these_import_no_jax(name):
    code = f"import sys, jser.{name}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_import_of_the_package_is_light():
    heavy = "{'jax', 'torch', 'transformers', 'tensorflow', 'sklearn', 'librosa'}"
    code = f"import sys, jser; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_module_is_imported_under_another_name():
    """A module is named so that variables can have other names."""
    bad = []
    for path in (*MODULES, *ROOT.glob("scripts/*.py"), *ROOT.glob("configs/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("jser"):
                bad += [f"{path}:{node.lineno}" for a in node.names if a.asname]
    assert not bad, bad


def main() -> None:
    """Prints what the tests above count."""
    drawn = [(room, other) for _, room, other in arrows()]
    pairs = set(drawn)
    climbing = {(a, b) for a, b in pairs if FLOOR[b] >= FLOOR[a]}
    reach = {a: {b for x, b in pairs if x == a} for a, _ in pairs}
    for _ in reach:
        reach = {
            a: s.union(*(reach.get(b, set()) for b in s)) for a, s in reach.items()
        }
    circles = sorted(a for a, s in reach.items() if a in s)
    print(f"{len(FLOOR)} rooms on {len(FLOORS)} floors, {len(MODULES)} files")
    print(f"{len(pairs)} arrows between rooms, by {len(drawn)} imports")
    print(f"{len(climbing)} arrows climb: {sorted(climbing)}")
    print(f"{len(circles)} rooms in circles: {circles}")


if __name__ == "__main__":
    main()
