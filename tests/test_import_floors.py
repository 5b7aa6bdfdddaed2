"""Imports only go down the floors of the house, and heavy ones stay in their rooms."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = (
    {"emotions", "files", "shapes"},
    {"config", "recipes", "roots", "draws", "console"},
    {"augment", "corpora", "data", "extract"},
    {"bootstrap", "calibration", "charts", "groups", "logits", "losses"}
    | {"markdown", "metrics", "models", "priors", "published", "submission"},
    {"checkpoints", "compilation", "record", "stackers", "train_step", "writer"},
    {"comparison", "report", "results", "stack", "train"},
    {"evaluate", "predict", "stacker_file", "together"},
    {"convert", "ensemble"},
)
FLOOR = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}
ROOMS_OF = {
    "torch": {"extract"},
    "transformers": {"extract"},
    "sklearn": {"stack", "stacker_file", "stackers"},
    "tensorflow": set(),
}
WITHOUT_JAX = (
    *("bootstrap", "calibration", "charts", "config", "files", "groups", "logits"),
    *("metrics", "report", "stack", "stacker_file", "submission"),
)
MODULES = sorted((ROOT / "jser").rglob("*.py"))


def imports(path: pathlib.Path) -> list[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever it does."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [alias.name for alias in node.names]
            found += [(node.lineno, f"{node.module}.{name}") for name in names]
    return found


def room_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "jser").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOOR, f"{path} stands on no floor; add it to FLOORS"
    for line, name in imports(path):
        top, *rest = name.split(".")
        where = f"{path.relative_to(ROOT)}:{line}"
        if top == "jser" and rest and rest[0] in FLOOR:
            assert FLOOR[rest[0]] <= FLOOR[room], f"{where} climbs to {name}"
        if top in ROOMS_OF:
            assert room in ROOMS_OF[top], f"{where} must not import {top}"
        if room not in ("extract", "corpora", "console"):
            assert top != "librosa", f"{where} must not import librosa"
        assert name != "absl.flags", f"{where}: flags belong to scripts/"
        assert top not in ("pickle", "joblib"), f"{where}: no pickles"


@pytest.mark.parametrize("name", sorted(WITHOUT_JAX))
def test_last_stages_import_no_jax(name):
    code = f"import sys, jser.{name}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_import_of_the_package_is_light():
    heavy = "{'jax', 'torch', 'transformers', 'tensorflow', 'sklearn', 'librosa'}"
    code = f"import sys, jser; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
