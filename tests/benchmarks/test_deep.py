"""The table of deep fusion's cost."""

import pytest

pytest.importorskip("torch")

from benchmarks import deep
from benchmarks.sides import Shape


@pytest.mark.slow
def test_a_row_for_each_network():
    """116,008 parameters by the sum in tests/models/test_deep.py, at H = 32."""
    fusion, own = deep.rows(Shape(2, (6, 4), 32, neutral=False), 1)
    cells = own.split(" | ")
    assert cells[0] == "| 2 x 6 + 4"
    assert cells[1:3] == ["deep", "0.12"]
    assert float(cells[3]) > 0
    assert fusion.endswith("| **1.00** |")
