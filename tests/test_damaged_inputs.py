"""Whatever is damaged is read as what it is, or refused in one line with its path.

Which files are damaged, and how, is drawn by seeds: `tests/helpers/mutations.py`.
"""

import json
import subprocess
import sys

import pytest

from tests.helpers import readers
from tests.helpers.paths import ROOT

FEW, MORE, FULL = 5, 20, 600  # Damaged files a reader.


@pytest.mark.parametrize("name", readers.READERS)
def test_of_every_reader(tmp_path, name):
    reader = readers.READERS[name]
    path = reader.make(tmp_path)
    whole = path.read_bytes()
    reader.read(path)
    for seed in range(FEW):
        readers.outcome(reader, path, whole, seed)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(FEW, MORE, marks=pytest.mark.slow),
        pytest.param(MORE, FULL, marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("name", readers.READERS)
def test_within_bounds_of_memory_and_time(record_property, name, first, last):
    command = [sys.executable, "-m", "tests.helpers.readers", name, str(first)]
    ended = subprocess.run(
        [*command, str(last)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    counts = json.loads(ended.stdout.splitlines()[-1])
    record_property("outcomes", counts)
    assert sum(counts.values()) == last - first
