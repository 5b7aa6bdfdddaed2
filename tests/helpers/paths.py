"""Where things lie beside the tests."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = ROOT.parent / "shared"  # Never committed; tests that need it skip.
