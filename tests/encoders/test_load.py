"""`jser.encoders.load`: by folder, alone, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jser import encoders
from jser.encoders.families import FAMILIES
from tests.helpers import tiny_checkpoints

pytest.importorskip("torch")
pytest.importorskip("transformers")

GROUND = (
    *(
        "archives",
        "containers",
        "audio",
        "caches",
        "console",
        "decoding",
        "devices",
        "emotions",
        "encoders",
        "files",
        "shapes",
    ),
    "sound_headers",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny encoder of sound, and one of text."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("hubert", "bert")}
    for name, folder in made.items():
        tiny_checkpoints.make(name, folder)
    return made


def test_an_encoder_tells_what_it_makes(folders, rng):
    encode = encoders.load(folders["hubert"], layer="all")
    sounds = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (9000, 400)]
    got = encode(sounds)
    assert [x.shape for x in got] == [(27, 4, 32), (1, 4, 32)]
    assert (encode.kind, encode.width, encode.layers) == ("speech", 32, 4)
    assert (encode.frames_per_s, encode.sampling_rate_hz) == (50, 16_000)
    assert encode.compiled > 0
    encode = encoders.load(folders["bert"], layer="1")
    assert [x.shape for x in encode(["so happy", ""])] == [(4, 32), (2, 32)]
    assert (encode.kind, encode.layers, encode.frames_per_s) == ("text", 1, 0)
    assert encode.sampling_rate_hz == 0


def test_it_needs_nothing_else_of_jser_and_no_pytorch(folders):
    code = (
        "import sys; sys.modules['torch'] = None; from jser import encoders; "
        "assert 'jax' not in sys.modules; import numpy as np; "
        "encoders.load(sys.argv[1])([np.zeros(9000, np.float32)]); "
        "encoders.load(sys.argv[2])(['so happy']); "
        "names = [n.split('.')[1] for n in sys.modules if n.startswith('jser.')]; "
        "print(' '.join(sorted(set(names))))"
    )
    command = [sys.executable, "-c", code, *map(str, folders.values())]
    rooms = subprocess.check_output(command, text=True).split()
    assert "encoders" in rooms
    assert set(rooms) <= set(GROUND), rooms


def test_an_unknown_family_is_told_what_there_is(tmp_path):
    config = {"model_type": "gpt2", "hidden_size": 8, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    known = ", ".join(sorted(FAMILIES))
    with pytest.raises(ValueError, match=rf"'gpt2', not one of {known}\..*='torch'"):
        encoders.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype='float16' is not one of float32, bfloat16"),
        ({"backend": "tf"}, "backend='tf' is not one of jax, torch"),
        ({"layer": "4"}, "layer='4' is not one of last, mean_last_4, all, 0 to 3"),
    ],
)
def test_options_that_there_are_not_are_refused(folders, options, message):
    with pytest.raises(ValueError, match=message):
        encoders.load(folders["hubert"], **options)


def test_facodec_is_told_by_its_files(tmp_path):
    (tmp_path / "ns3_facodec_encoder_v2.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"decoder_v2\.bin: no such .* hf down"):
        encoders.load(tmp_path)
    (tmp_path / "ns3_facodec_decoder_v2.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="FACodec has only layer='last'"):
        encoders.load(tmp_path, layer="1")


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("hubert", ["so happy"], "input 0 is a str; this encoder reads sound"),
        ("hubert", np.zeros((1, 2, 900)), r"input 0 is a float64 array \(2, 900\)"),
        ("hubert", [np.zeros(900, np.int16)], r"input 0 is a int16 array \(900,\)"),
        ("hubert", [np.zeros(399, np.float32)], "399 samples are too few"),
        ("bert", ["a", np.zeros(900)], "input 1 is a ndarray; this encoder reads text"),
        ("bert", "so happy", "one transcript: give a list"),
    ],
)
def test_inputs_of_another_kind_are_refused(folders, name, inputs, message):
    with pytest.raises(ValueError, match=message):
        encoders.load(folders[name])(inputs)
