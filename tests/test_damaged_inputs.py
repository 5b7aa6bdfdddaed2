"""Whatever is damaged is read as what it is, or refused in one line with its path.

Which files are damaged, and how, is drawn by seeds: `tests/helpers/mutations.py`.
"""

import json
import subprocess
import sys

import pytest

from jser.encoders import weights
from tests.helpers import readers
from tests.helpers.paths import ROOT

FEW, MORE, FULL = 5, 60, 600  # Damaged files a reader.


@pytest.mark.parametrize(
    ("first", "last"), [(0, FEW), pytest.param(FEW, MORE, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", readers.READERS)
def test_of_every_reader(tmp_path, name, first, last):
    reader = readers.READERS[name]
    path = reader.make(tmp_path)
    whole = path.read_bytes()
    reader.read(path)
    for seed in range(first, last):
        readers.outcome(reader, path, whole, seed)


NOT_UTF8, OPEN, NUL, CUT = b"a,b\n\xe9", b'a,b\n"c', b"a,b\nc\0,d\n", b'{"a": [1, 2'
EXTRACT, FETCH = "run jser extract again.", "Fetch "


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *((n, NOT_UTF8, "line 2 is not UTF-8") for n in ("csv", "sample.csv")),
        *((n, OPEN, "line 2") for n in ("csv", "msp_labels", "words.csv")),
        *((n, NUL, "line 2 has a NUL") for n in ("table.csv", "sample.csv", "csv")),
        ("msp_words", b"it\x92s fine", "m0.txt: line 1 is not UTF-8"),
        ("table.json", b"{}", "lacks 'labels'). Run jser prepare again."),
        ("manifest.json", b"{}", f"lacks 'spec'). Remove .*{EXTRACT}"),
        ("manifest.json", CUT, EXTRACT),
        ("dataset_info.json", b"{}", f"dataset_info.json: damaged .*{EXTRACT}"),
        ("features.json", b"[]", f"features.json: damaged .*{EXTRACT}"),
        ("index.npz", b"PK", f"index.npz: damaged .*{EXTRACT}"),
        ("part.npz", b"", "Remove it and run jser extract again."),
        ("chunk.json", b'{"0 u": {"text": "x"}}', "run jser transcribe again."),
        ("run_config", b"{}", "lacks 'config'). Remove .* run jser train again."),
        ("run_config", b'{"config": {"x": 1}}', "damaged"),
        ("index.json", b"{}", f"lacks 'weight_map'). {FETCH}"),
        ("index.json", b'{"weight_map": {"w": "../a.safetensors"}}', "beside it"),
        ("index.json", b'{"weight_map": {"w": "/a.safetensors"}}', "beside it"),
        ("index.json", b'{"weight_map": {"w": 1}}', FETCH),
        ("model.safetensors", b"\xff" * 8 + b"{}", f"damaged .*{FETCH}"),
        ("model.safetensors", b"\2" + bytes(7) + b"{", f"damaged .*{FETCH}"),
        ("pytorch_model.bin", b"\x80\x02.", "older than PyTorch 1.6"),
        ("config_bert", b'{"model_type": "bert"}', f"lacks .*{FETCH}"),
        ("generation_config.json", b"{}", "no single start and end token"),
        ("vocab.txt", b"\xff", "vocab.txt: line 1 is not UTF-8"),
        ("tokenizer.json", CUT, f"tokenizer.json: not valid JSON .*{FETCH}"),
        ("spm.model", b"\xff" * 99, FETCH),
    ],
)
def test_each_says_what_is_wrong_and_what_mends_it(tmp_path, name, content, message):
    reader = readers.READERS[name]
    path = reader.make(tmp_path)
    path.write_bytes(content)
    with pytest.raises(reader.refuses, match=message.replace(")", "[)]")) as e:
        reader.read(path)
    assert str(tmp_path) in str(e.value)
    assert "\n" not in str(e.value)


def test_tensors_of_eight_bits_are_named(tmp_path):
    header = json.dumps(
        {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    )
    size = len(header).to_bytes(8, "little")
    (tmp_path / "model.safetensors").write_bytes(size + header.encode() + bytes(4))
    with pytest.raises(ValueError, match=r"model\.safetensors: 'w' is of type F8_E4M3"):
        weights.read_tensors(tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("name", readers.READERS)
def test_within_bounds_of_memory_and_time(record_property, name):
    command = [sys.executable, "-m", "tests.helpers.readers", name, str(MORE)]
    ended = subprocess.run(
        [*command, str(FULL)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    counts = json.loads(ended.stdout.splitlines()[-1])
    record_property("outcomes", counts)
    assert sum(counts.values()) == FULL - MORE
