import dataclasses
import time

import pytest

from jser.features import shards
from tests.helpers import fake_encoder
from tests.helpers.fake_encoder import encode_noise

pytestmark = pytest.mark.usefixtures("many_shards")


def test_a_shard_holds_half_an_hour_and_256_utterances_at_most(
    table, tmp_path, monkeypatch
):
    def sizes(seconds, count, **fields) -> list[int]:
        u = dataclasses.replace(table.utterances[0], seconds=seconds)
        many = dataclasses.replace(table, utterances=(u,) * count)
        spec = fake_encoder.front_end(**fields).spec
        return [len(s.rows) for s in shards.cut(many, spec, tmp_path)]

    assert sizes(5.0, 8192) == [256] * 32
    assert sizes(60.0, 8192) == [30] * 273 + [2]
    assert sizes(7200.0, 3) == [1, 1, 1]
    assert sizes(None, 100) == [6] * 16 + [4]
    monkeypatch.undo()
    assert sizes(5.0, 100) == [32, 32, 32, 4]
    assert sizes(5.0, 100, weights="") == [6] * 16 + [4]
    assert sizes(5.0, 8192, layers=4) == [64] * 128
    assert sizes(5.0, 8192, layers=25) == [16] * 512


def test_sound_is_read_one_shard_ahead(table, tmp_path, monkeypatch):
    read, encode, reads, ahead = shards.Shard.read, shards.Shard.encode, [], []
    monkeypatch.setattr(
        shards.Shard, "read", lambda shard, row: reads.append(1) or read(shard, row)
    )

    def encode_slowly(shard, *arguments):
        for _ in range(500):  # Threads read on meanwhile, as far as they may.
            if len(reads) >= min(4 * len(ahead) + 8, 64):
                break
            time.sleep(0.01)
        time.sleep(0.01)
        ahead.append(len(reads))
        return encode(shard, *arguments)

    monkeypatch.setattr(shards.Shard, "encode", encode_slowly)
    encode_noise(table, tmp_path)
    assert ahead == [*range(8, 65, 4), 64]
