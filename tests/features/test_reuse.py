"""Frames that are stored are not made again, whatever table asks for them."""

import dataclasses
import pathlib

import numpy as np
import pytest

from jser.corpora import tables
from jser.data.split import Split
from jser.features import shards, store, verify, writer
from jser.features.extract import PartsMissing, TooManyFailures, extract
from tests.helpers import fake_encoder
from tests.helpers.fake_encoder import encode_noise, encoded, records
from tests.helpers.files import flip

pytestmark = pytest.mark.usefixtures("many_shards")


def with_rows(table: tables.Table, rows, name: str = "noise") -> tables.Table:
    folder = table.folder.parent / name
    root = str((table.folder / table.audio_root).resolve())
    return dataclasses.replace(
        table, utterances=tuple(rows), folder=folder, audio_root=root
    )


def rename(rows, prefix: str) -> list[tables.Utterance]:
    return [dataclasses.replace(u, utt_id=f"{prefix}{u.utt_id}") for u in rows]


def remove_sounds(table: tables.Table, rows) -> None:
    """Whoever encodes these fails."""
    for u in rows:
        table.audio_path(u).unlink()


@pytest.fixture
def log(tmp_path) -> pathlib.Path:
    return tmp_path / "log"


@pytest.fixture
def front_end(log):
    return fake_encoder.front_end(log=str(log))


def test_a_changed_table_costs_what_is_new(own_table, tmp_path, log, front_end, capfd):
    rows = list(own_table.utterances)
    first = with_rows(own_table, rows[:28])
    encode_noise(first, tmp_path / "root", front_end)
    # Five gone, one with the sound of another, all in another order, four new.
    changed = dataclasses.replace(rows[9], file=rows[3].file, sha256=rows[3].sha256)
    second = with_rows(own_table, [*rows[:9:-1], changed, *rows[5:9]])
    found = encode_noise(second, tmp_path / "root", front_end)
    assert encoded(log) == 28 + 4
    assert found.utt_id == [u.utt_id for u in second.utterances]
    assert verify.verify(found.folder) == []
    assert [p.name for p in found.folder.parent.iterdir()] == [store.VERSION]
    assert "fake (23 reused): 100%" in capfd.readouterr().err
    assert records(found) == records(encode_noise(second, tmp_path / "fresh"))
    fewer = encode_noise(with_rows(own_table, rows[10:]), tmp_path / "root", front_end)
    assert len(fewer.utt_id) == 22
    assert encoded(log) == 32


def test_other_corpora_of_the_same_sounds(own_table, tmp_path, log, front_end):
    rows = own_table.utterances
    encode_noise(with_rows(own_table, rows[:20], "one"), tmp_path, front_end)
    encode_noise(
        with_rows(own_table, rename(rows[10:], "b"), "two"), tmp_path, front_end
    )
    merged = with_rows(own_table, [*rename(rows, "m"), *rows], "merged")
    remove_sounds(own_table, rows)
    found = encode_noise(merged, tmp_path, front_end)
    assert encoded(log) == 32
    assert verify.verify(found.folder) == []
    frames = records(found)
    assert all(frames[u.utt_id] == frames[f"m{u.utt_id}"] for u in rows)


@pytest.mark.parametrize(
    "engine",
    [pytest.param("processes", marks=pytest.mark.slow), "text", "beam", "shares"],
)
def test_whoever_encodes(own_table, tmp_path, engine):
    given = "logmel" if engine == "processes" else fake_encoder.front_end()
    options: dict = {"workers": 1}
    if engine == "text":
        given = "char_ngrams"
    if engine == "beam":
        pytest.importorskip("apache_beam", reason="needs the extra beam")
        options["beam"] = "--runner=DirectRunner"
    rows = own_table.utterances
    before = extract(with_rows(own_table, rows[:31]), given, tmp_path, workers=1)
    kept = records(before)
    remove_sounds(own_table, rows[:31])
    if engine == "shares":
        with pytest.raises(PartsMissing):
            extract(own_table, given, tmp_path, share=(2, 2), **options)
        assert records(store.FeatureSet(before.folder)) == kept
        options["share"] = (1, 2)
    after = records(extract(own_table, given, tmp_path, **options))
    assert after.keys() - kept.keys() == {"u031"}
    assert after.items() >= kept.items()


def test_another_front_end_is_none_of_ours(own_table, tmp_path, log):
    encode_noise(with_rows(own_table, own_table.utterances, "one"), tmp_path)
    other = fake_encoder.front_end(log=str(log), layer="7")
    encode_noise(own_table, tmp_path, other)
    assert encoded(log) == 32


def test_damaged_frames_are_made_again(own_table, tmp_path, log, front_end, caplog):
    found = encode_noise(own_table, tmp_path, front_end)
    kept = records(found)
    shard = sorted(found.folder.glob("*.array_record*"))[3]
    flip(shard, shard.stat().st_size // 2)
    fewer = with_rows(own_table, own_table.utterances[:-1])
    again = encode_noise(fewer, tmp_path, front_end)
    assert encoded(log) in (32 + 1, 32 + 2)  # Of the two in that shard.
    assert records(again) == {u: kept[u] for u in again.utt_id}
    assert "is not reused" in caplog.text


def test_a_damaged_corpus_does_not_stop_another(own_table, tmp_path, caplog):
    one = with_rows(own_table, own_table.utterances, "one")
    shard = next(encode_noise(one, tmp_path).folder.glob("*.array_record*"))
    shard.unlink()
    encode_noise(own_table, tmp_path)
    assert f"not reused: {shard}: 0 bytes" in caplog.text


# Cuts and failures.


@pytest.mark.parametrize("cut_in", ["index", "first rename", "second rename"])
def test_a_cut_leaves_the_old_or_what_makes_the_new(
    own_table, tmp_path, log, front_end, monkeypatch, cut_in
):
    rows = own_table.utterances
    before = encode_noise(with_rows(own_table, rows[:-1]), tmp_path, front_end)
    move, moved = pathlib.Path.rename, []

    def cut(*arguments):
        raise KeyboardInterrupt

    def rename_or_cut(self, target):
        moved.append(self)
        return cut() if len(moved) > (cut_in == "second rename") else move(self, target)

    with monkeypatch.context() as patched:
        if cut_in == "index":
            patched.setattr(writer, "_write_index", cut)
        else:
            patched.setattr(pathlib.Path, "rename", rename_or_cut)
        with pytest.raises(KeyboardInterrupt):
            encode_noise(own_table, tmp_path, front_end)
    if cut_in == "second rename":
        assert not before.folder.exists()
    else:
        assert verify.verify(before.folder) == []
    found = encode_noise(own_table, tmp_path, front_end)
    assert encoded(log) == 32
    assert verify.verify(found.folder) == []
    assert len(found.utt_id) == 32
    assert [p.name for p in found.folder.parent.iterdir()] == [store.VERSION]


def test_parts_of_the_table_before_are_reused(own_table, tmp_path, log, front_end):
    rows = own_table.utterances
    with pytest.raises(PartsMissing):
        encode_noise(with_rows(own_table, rows[:-1]), tmp_path, front_end, share=(1, 2))
    made = encoded(log)
    shuffled = with_rows(own_table, [rows[-1], *rows[:-1]])
    found = encode_noise(shuffled, tmp_path, front_end)
    assert 0 < made < encoded(log) == 32
    assert records(found) == records(encode_noise(shuffled, tmp_path / "fresh"))


def test_the_failed_are_tried_again(own_table, tmp_path, log, front_end):
    rows = list(own_table.utterances)
    sound, mended = (own_table.audio_path(u) for u in (rows[4], rows[5]))
    whole = sound.read_bytes()
    sound.unlink()
    encode_noise(own_table, tmp_path, front_end, max_failures=1)
    encode_noise(own_table, tmp_path, front_end)  # Nothing is new.
    sound.write_bytes(whole)
    fewer = with_rows(own_table, rows[:-1])
    assert encode_noise(fewer, tmp_path, front_end).failures == {}
    assert encoded(log) == 32
    mended.unlink()
    broken = dataclasses.replace(rows[5], sha256="0123456789abcdef")
    with pytest.raises(TooManyFailures):
        encode_noise(with_rows(own_table, [*rows[:5], broken]), tmp_path, front_end)
    assert len(store.FeatureSet(tmp_path / "noise" / "fake" / "1.0.0").utt_id) == 31
    table = with_rows(own_table, [*rows[:5], broken])
    found = encode_noise(table, tmp_path, front_end, max_failures=1)
    assert list(found.failures) == ["u005"]
    found = encode_noise(with_rows(own_table, rows[:5]), tmp_path, front_end)
    assert found.failures == {}


def test_a_mended_failure_alone_is_new(own_table, tmp_path, log, front_end):
    rows = list(own_table.utterances)
    broken = dataclasses.replace(rows[5], sha256="0123456789abcdef")
    table = with_rows(own_table, [*rows[:5], broken, *rows[6:]])
    encode_noise(table, tmp_path, front_end, max_failures=1)
    found = encode_noise(own_table, tmp_path, front_end)
    assert found.failures == {}
    assert encoded(log) == 32


def test_channels_that_cancel_are_another_input(own_table, tmp_path, log, front_end):
    rows = list(own_table.utterances)
    encode_noise(own_table, tmp_path, front_end)
    noted = [
        dataclasses.replace(rows[0], sound_note="silent"),
        dataclasses.replace(rows[1], sound_note="clipped, channels cancel"),
    ]
    encode_noise(with_rows(own_table, [*noted, *rows[2:]]), tmp_path, front_end)
    assert encoded(log) == 32 + 1


def test_training_takes_more_records_and_refuses_fewer(own_table, tmp_path):
    found = encode_noise(own_table, tmp_path)
    fewer = with_rows(own_table, own_table.utterances[3:7])
    split = Split.join(fewer, fewer.utterances, {"speech": found})
    np.testing.assert_array_equal(split.record["speech"], np.arange(3, 7))
    more = with_rows(own_table, rename(own_table.utterances[:2], "new"))
    with pytest.raises(
        ValueError,
        match=r"no frames for 2 utterances of .*noise, e.g. 'newu000'. Run jser extract"
        r" --table .*noise --frontend fake, with its flags of before; it encodes only",
    ):
        Split.join(more, more.utterances, {"speech": found})


def test_frames_read_need_no_sound(own_table, tmp_path):
    shard = shards.cut(own_table, fake_encoder.SPEC, tmp_path)[0]
    given = shards.Stored(np.ones((2, 4), np.float16))
    rows = {u.utt_id: lambda: given for u in shard.rows}
    remove_sounds(own_table, shard.rows)
    reused = dataclasses.replace(shard, stored=rows)
    assert isinstance(reused.read(0), shards.Stored)
    assert reused.encode(fake_encoder.front_end().load(), [given]) == []
