"""Imports only go down the floors of the house, and heavy ones stay in their rooms.

`python -m tests.test_floors` counts rooms, arrows, arrows that climb, and circles; with
the folder of another checkout it counts what lies in the jser/ of that.
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
    {"containers", "feature_names", "sound_headers"},
    {
        *("archives", "caches", "console", "decoding", "emotions", "files"),
        *("devices", "front_end_table", "locks", "processes", "shapes"),
    },
    {"audio", "config_rules"},
    {"config"},
    {"config_files"},
    {"overrides", "recipes", "roots"},
    {"corpora", "encoders", "models", "statistics"},
    {"features"},
    {"data"},
    {"ensemble"},
    {"training"},
    {"report"},
    {"recognizer"},
    {"fitting", "levers", "pipeline", "spaces", "web"},
    {"ablation", "sweeping"},
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
    "starlette": ("web",),
    "uvicorn": ("web",),
    "optuna": ("spaces", "sweeping"),
    "pickle": (),
    "joblib": (),
}
WITHOUT_JAX = (
    *("config", "ensemble.combiners", "ensemble.logits", "ensemble.stacking"),
    *(
        "files",
        "levers",
        "report.ablation_page",
        "report.charts",
        "report.page",
        "report.submission",
        "statistics",
    ),
)
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = ("jser", "scripts", "configs", "benchmarks", "tests")


def name_of(path: pathlib.Path, package: pathlib.Path = PACKAGE) -> str:
    """`corpora.tables` of jser/corpora/tables.py."""
    parts = path.relative_to(package).with_suffix("").parts
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


def arrows(package: pathlib.Path = PACKAGE) -> Iterator[tuple[str, str, str]]:
    """Place, module and imported module of every import from another one of jser."""
    paths = {name_of(p, package): p for p in sorted(package.rglob("*.py"))}
    for module, path in paths.items():
        for line, name in imports(path):
            top, _, other = name.partition(".")
            while other and other not in paths:  # Down to the module of a function.
                other = other.rpartition(".")[0]
            if top == "jser" and other not in ("", module) and module:
                yield f"{path.relative_to(package.parent)}:{line}", module, other


def room_of(module: str) -> str:
    """`corpora` of corpora.tables."""
    return module.partition(".")[0]


def circles(pairs: set[tuple[str, str]]) -> list[str]:
    """All that can be reached from itself."""
    reach = {a: {b for x, b in pairs if x == a} for a, _ in pairs}
    for _ in range(len(reach).bit_length()):  # Each time over twice as many arrows.
        reach = {
            a: s.union(*(reach.get(b, set()) for b in s)) for a, s in reach.items()
        }
    return sorted(a for a, s in reach.items() if a in s)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_room_stands_on_a_floor(path):
    room = name_of(path).partition(".")[0]
    assert room in FLOOR or not room, f"{path}: add {room} to FLOORS"


def test_imports_go_down():
    bad = [
        f"{place}: {room} must not import {other}, which is not on a floor below"
        for place, room, other in (
            (place, room_of(a), room_of(b)) for place, a, b in arrows()
        )
        if room != other and FLOOR[other] >= FLOOR[room]
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


def test_what_training_needs_is_not_imported_to_recognize():
    """One sound is to be answered in seconds, and each of these takes some."""
    heavy = "{'torch', 'transformers', 'sklearn', 'skops', 'grain', 'orbax', 'librosa'}"
    code = f"print({heavy} & set(sys.modules))"
    code = f"import sys, jser.recognizer.recognizer, jser.recognizer.answers; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_no_module_is_imported_under_another_name():
    """A module is named so that variables can have other names.

    jser/__init__.py gives what it hands out the names that the public knows.
    """
    bad, files = [], [p for p in MODULES if p != PACKAGE / "__init__.py"]
    for path in (*files, *ROOT.glob("scripts/*.py"), *ROOT.glob("configs/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("jser"):
                bad += [f"{path}:{node.lineno}" for a in node.names if a.asname]
    assert not bad, bad


def test_no_modules_import_each_other_in_a_circle():
    assert not circles({(a, b) for _, a, b in arrows()})


def test_files_and_functions_can_be_read_in_one_sitting():
    bad = []
    for path in sorted(p for d in SOURCES for p in (ROOT / d).rglob("*.py")):
        text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        most = 450 if where.parts[0] == "tests" else 400
        if (lines := text.count("\n")) > most:
            bad.append(f"{where}: {lines} lines, {most} at most")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 70:
                    bad.append(f"{where}:{node.lineno}: {node.name} has {size} lines")
    assert not bad, "\n".join(bad)


def main() -> None:
    """Prints what the tests above count."""
    package = pathlib.Path(sys.argv[1]) / "jser" if sys.argv[1:] else PACKAGE
    modules = [name_of(p, package) for p in package.rglob("*.py")]
    between = {(a, b) for _, a, b in arrows(package)}
    drawn = [
        (room_of(a), room_of(b))
        for _, a, b in arrows(package)
        if room_of(a) != room_of(b)
    ]
    rooms = sorted({room_of(m) for m in modules} - {""})
    print(f"{len(rooms)} rooms, {len(modules)} files")
    print(f"{len(set(drawn))} arrows between rooms, by {len(drawn)} imports")
    if package == PACKAGE:
        climbing = sorted({(a, b) for a, b in drawn if FLOOR[b] >= FLOOR[a]})
        print(f"{len(FLOORS)} floors; {len(climbing)} arrows climb: {climbing}")
    for what, found in (("rooms", set(drawn)), ("files", between)):
        turning = circles(found)
        print(f"{len(turning)} {what} in circles: {turning}")


if __name__ == "__main__":
    main()
