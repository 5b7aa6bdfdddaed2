"""Extraction that was cut, and by several processes, equals one that was not."""

import random
import subprocess
import sys
import time

import pytest

from jser.features import shards, store, verify, workers, writer
from jser.features.extract import PartsMissing, TooManyFailures, parse_share
from tests.helpers import fake_encoder
from tests.helpers.fake_encoder import encode_noise, encoded, records
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("many_shards")


def run_program(table, root, share, seconds, log) -> subprocess.Popen:
    i, n = share
    arguments = map(str, (table.folder, root, i, n, seconds, log))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.fake_encoder", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
def test_killed_five_times_equals_uncut(tmp_path):
    table = fake_encoder.corpus(tmp_path / "data" / "noise", 200)
    uncut = encode_noise(table, tmp_path / "uncut")
    log, root = tmp_path / "log", tmp_path / "killed"
    rng, cuts, kept = random.Random(4), 0, []
    for _ in range(5):
        process = run_program(table, root, (1, 1), 0.01, log)
        assert process.stdout.readline() == "started\n"
        time.sleep(rng.uniform(0.2, 0.7))
        process.kill()
        cuts += process.wait() == -9
        kept.append(len(list(root.glob("noise/fake/parts-*/*.npz"))))
        process.stdout.close()
    assert cuts >= 3
    assert kept == sorted(kept)
    assert 0 < kept[-1] < 17
    before = encoded(log)
    found = encode_noise(table, root, fake_encoder.front_end(log=str(log)))
    assert encoded(log) - before == 200 - 12 * kept[-1]
    # A cut costs at most the shard that is encoded and the one that is written.
    assert encoded(log) <= 200 + cuts * 2 * 12
    assert found.utt_id == uncut.utt_id
    assert records(found) == records(uncut)
    assert verify.verify(found.folder) == []


def test_a_cut_while_joining_loses_nothing(table, tmp_path, monkeypatch):
    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(writer, "_write_index", cut)
        with pytest.raises(KeyboardInterrupt):
            encode_noise(table, tmp_path)
    assert not (tmp_path / "noise" / "fake" / store.VERSION).exists()
    monkeypatch.setattr(workers, "_encode_here", None)
    assert verify.verify(encode_noise(table, tmp_path).folder) == []


def test_only_shards_with_mended_sounds_are_made_again(own_table, tmp_path):
    log = tmp_path / "log"
    sound = own_table.audio_path(own_table.utterances[5])
    whole = sound.read_bytes()
    sound.write_bytes(b"no sound")
    front_end = fake_encoder.front_end(log=str(log))
    with pytest.raises(TooManyFailures, match="1 utterances could not"):
        encode_noise(own_table, tmp_path, front_end)
    assert encoded(log) == 31
    sound.write_bytes(whole)
    assert encode_noise(own_table, tmp_path, front_end).failures == {}
    assert encoded(log) == 31 + 2


def test_a_damaged_part_is_named(table, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(writer, "write", None)
        with pytest.raises(TypeError):
            encode_noise(table, tmp_path)
    part = sorted(tmp_path.glob("noise/fake/parts-*/*.npz"))[3]
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{part.name}: damaged .* Remove it and run"):
        encode_noise(table, tmp_path)
    other = next(p for p in part.parent.glob("*.npz") if p != part)
    part.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=rf"{part.name}: holds 'u\d+' 0 times"):
        encode_noise(table, tmp_path)
    part.unlink()
    assert verify.verify(encode_noise(table, tmp_path).folder) == []


# Several runs on one dataset.


def test_shares_are_disjoint_and_the_last_joins(table, tmp_path):
    log = tmp_path / "log"
    front_end = fake_encoder.front_end(log=str(log))
    with pytest.raises(
        PartsMissing,
        match=r"11 of 16 parts are missing in .*--shard=1/3, --shard=3/3;",
    ):
        encode_noise(table, tmp_path, front_end, share=(2, 3))
    with pytest.raises(PartsMissing, match="those of --shard=3/3;"):
        encode_noise(table, tmp_path, front_end, share=(1, 3))
    found = encode_noise(table, tmp_path, front_end, share=(3, 3))
    assert encoded(log) == 64
    assert records(found) == records(encode_noise(table, tmp_path / "alone"))
    assert not list(found.folder.parent.glob("parts-*"))
    assert records(encode_noise(table, tmp_path, front_end, share=(1, 3))) == records(
        found
    )
    assert encoded(log) == 64


def test_parts_of_several_hosts_join_when_copied_together(table, tmp_path):
    for i in (1, 2):
        with pytest.raises(PartsMissing):
            encode_noise(table, tmp_path / f"host{i}", share=(i, 2))
    (there,) = (tmp_path / "host2").glob("noise/fake/parts-*")
    (here,) = (tmp_path / "host1").glob("noise/fake/parts-*")
    assert there.name == here.name
    for part in there.iterdir():
        part.rename(here / part.name)
    log = tmp_path / "log"
    found = encode_noise(
        table, tmp_path / "host1", fake_encoder.front_end(log=str(log))
    )
    assert encoded(log) == 0
    assert records(found) == records(encode_noise(table, tmp_path / "alone"))


def test_what_another_run_made_meanwhile_is_not_made_again(
    table, tmp_path, monkeypatch
):
    log, encode = tmp_path / "log", shards.Shard.encode
    front_end = fake_encoder.front_end(log=str(log))

    def overtaken(shard, *arguments):
        monkeypatch.setattr(shards.Shard, "encode", encode)
        with pytest.raises(PartsMissing):
            encode_noise(table, tmp_path, front_end, share=(2, 2))
        return encode(shard, *arguments)

    monkeypatch.setattr(shards.Shard, "encode", overtaken)
    encode_noise(table, tmp_path, front_end)
    assert encoded(log) == 64 + 4  # One shard's sound had been read already.


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/", "-1/2", "a/b"])
def test_a_share_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=f"--shard={text}: it reads i/n"):
        parse_share(text)


def test_who_joins_second_takes_the_dataset_of_the_first(table, tmp_path, monkeypatch):
    """The second has read all parts when the first completes and removes them."""
    write_index = writer._write_index

    def overtaken(*arguments):
        monkeypatch.setattr(writer, "_write_index", write_index)
        write_index(*arguments)
        encode_noise(table, tmp_path)

    monkeypatch.setattr(writer, "_write_index", overtaken)
    found = encode_noise(table, tmp_path)
    assert verify.verify(found.folder) == []
    assert [p.name for p in found.folder.parent.iterdir()] == [store.VERSION]


@pytest.mark.slow
@pytest.mark.parametrize("of", [1, 2])
def test_two_processes_at_once(table, tmp_path, of):
    """Each does its half; or both do all, and both want to join."""
    log = tmp_path / "log"
    both = [run_program(table, tmp_path, (min(i, of), of), 0.01, log) for i in (1, 2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    if of == 2:
        assert encoded(log) == 64
        assert sum("parts are missing" in text for text in said) <= 1
    found = encode_noise(table, tmp_path)
    assert verify.verify(found.folder) == []
    assert [p.name for p in found.folder.parent.iterdir()] == [store.VERSION]
    assert records(found) == records(encode_noise(table, tmp_path / "alone"))
