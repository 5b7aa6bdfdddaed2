"""Whatever is damaged is found, and named."""

import random

import numpy as np
import pytest

from jser.features import verify, writer
from tests.helpers.fake_encoder import encode_noise
from tests.helpers.files import flip
from tests.helpers.seeds import seeds

pytestmark = pytest.mark.usefixtures("many_shards")


def test_verify_names_the_utterance_of_a_flipped_bit(table, tmp_path):
    found = encode_noise(table, tmp_path)
    frames = found.read(np.array([10]))[0]
    (shard,) = (
        p
        for p in found.folder.glob("*.array_record*")
        if frames.tobytes() in p.read_bytes()
    )
    flip(shard, shard.read_bytes().index(frames.tobytes()) + 7)
    (fault,) = verify.verify(found.folder)
    assert shard.name in fault
    assert "'u010'" in fault


@pytest.mark.parametrize("seed", seeds(8, 500))
def test_verify_finds_any_flipped_bit(table, tmp_path_factory, seed):
    found = encode_noise(table, tmp_path_factory.getbasetemp() / "flipped")
    rng = random.Random(seed)
    shard = rng.choice(sorted(found.folder.glob("*.array_record*")))
    at = rng.randrange(shard.stat().st_size)  # Most of so short a shard is padding.
    flip(shard, at)
    faults = verify.verify(found.folder)
    flip(shard, at)
    assert faults
    assert all(shard.name in fault for fault in faults)
    assert verify.verify(found.folder) == []


def test_verify_names_missing_and_truncated_shards(table, tmp_path):
    found = encode_noise(table, tmp_path)
    one, two, *_ = sorted(found.folder.glob("*.array_record*"))
    one.unlink()
    two.write_bytes(two.read_bytes()[:-100])
    faults = verify.verify(found.folder)
    assert len(faults) == 2
    assert f"{one.name}: 0 bytes" in faults[0]
    assert two.name in faults[1]


def test_verify_finds_frames_that_are_whole_but_others(table, tmp_path, monkeypatch):
    """As after a copy of one dataset's shard over another's."""
    examples = writer._examples

    def louder(path):
        for utt_id, example in examples(path):
            frames = example["frames"] * np.float16(2 if utt_id == "u033" else 1)
            yield utt_id, example | {"frames": frames}

    monkeypatch.setattr(writer, "_examples", louder)
    (fault,) = verify.verify(encode_noise(table, tmp_path).folder)
    assert "'u033' has frames of digest" in fault


def test_verify_finds_damage_beside_the_shards(table, tmp_path):
    found = encode_noise(table, tmp_path)
    listed = found.folder / "failures.csv"
    listed.write_text("utt_id,reason\nu001,lost\n")
    (fault,) = verify.verify(found.folder)
    assert "failures.csv: not the failures of manifest.json" in fault
    index = found.folder / "index.npz"
    flip(index, index.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"index\.npz: digest .* when it was written"):
        verify.verify(found.folder)
    with pytest.raises(FileNotFoundError, match="no features"):
        verify.verify(tmp_path)
