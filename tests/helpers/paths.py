"""Where things lie beside the tests."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
FIXTURES = ROOT / "tests" / "fixtures"  # Numbers that the authors' code computed.
SHARED = ROOT.parent / "shared"  # Corpora, never committed; tests of them skip.
