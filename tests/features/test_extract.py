import dataclasses
import pathlib
import random
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import soundfile

from jser.corpora import tables
from jser.data import batches
from jser.data.corpus import Corpus, open_corpus
from jser.data.padding import LengthBuckets
from jser.data.split import Split
from jser.features import frontends, shards, store, verify, workers, writer
from jser.features.extract import PartsMissing, TooManyFailures, extract, parse_share
from jser.models import fusion
from jser.roots import Roots
from jser.training import predict, run_config
from tests.helpers import fake_encoder, tiny_corpus

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def many_shards(monkeypatch):
    monkeypatch.setattr(shards, "_BATCH", 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> tables.Table:
    return fake_encoder.corpus(tmp_path_factory.mktemp("data") / "noise", 64)


@pytest.fixture
def own_table(tmp_path) -> tables.Table:
    """One whose sounds a test may spoil."""
    return fake_encoder.corpus(tmp_path / "data" / "noise", 32)


def encode_noise(table, root, front_end=None, **options) -> store.FeatureSet:
    front_end = front_end or fake_encoder.front_end()
    return extract(table, front_end, root, workers=2, **options)


def records(found: store.FeatureSet) -> dict[str, tuple]:
    everything = found.read(np.arange(len(found.utt_id)))
    return {
        u: (digest, frames.shape, frames.tobytes())
        for u, digest, frames in zip(
            found.utt_id, found.digest, everything, strict=True
        )
    }


def encoded(log: pathlib.Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("kind", ["speech", "text"])
def test_frames_are_those_of_the_encoder(table, tmp_path, kind, capfd):
    front_end = fake_encoder.front_end(kind=kind)
    found = encode_noise(table, tmp_path, front_end)
    assert found.utt_id == [u.utt_id for u in table.utterances]
    encode = front_end.load()
    for u, frames in zip(table.utterances, found.read(np.arange(64)), strict=True):
        given = u.transcript
        if kind == "speech":
            given, _ = soundfile.read(table.audio_path(u), dtype="float32")
        np.testing.assert_array_equal(frames, encode([given])[0].astype(np.float16))
    told = capfd.readouterr().err
    assert "64/64" in told
    assert "3 compiled shapes" in told
    assert ("audio-h/h" in told) == (kind == "speech")


def test_order_and_shards_do_not_matter(table, tmp_path, monkeypatch):
    one = encode_noise(table, tmp_path / "one")
    rows = list(table.utterances)
    random.Random(1).shuffle(rows)
    shuffled = dataclasses.replace(table, utterances=tuple(rows))
    monkeypatch.setattr(shards, "_MIN_SHARDS", 3)
    other = encode_noise(shuffled, tmp_path / "other")
    shard_counts = {len(list(f.folder.glob("*.array_record*"))) for f in (one, other)}
    assert shard_counts == {16, 4}
    assert other.utt_id == [u.utt_id for u in rows]
    assert records(one) == records(other)
    assert verify.verify(other.folder) == []


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


def test_many_layers_reach_the_model(table, tmp_path):
    found = encode_noise(table, tmp_path, fake_encoder.front_end(layers=3))
    split = Split.join(table, table.utterances[:6], {"speech": found})
    buckets = LengthBuckets.of(split.length, 1)
    batch = batches.collate(
        split.read(np.arange(6)), np.eye(2)[[0, 1] * 3], buckets, batch_size=8
    )
    x = batch.streams["speech"].x
    T = buckets.frames["speech"][0]
    assert x.shape == (8, T, 3, 4)
    read = fusion.StreamInput()
    out, variables = read.init_with_output(jax.random.key(0), x)
    assert out.shape == (8, T, 4)
    assert variables["params"]["layers"].shape == (3,)
    np.testing.assert_allclose(out, x.astype(np.float32).mean(2), atol=1e-6)
    assert verify.verify(found.folder) == []


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


def test_another_shape_than_the_specs_is_refused(table, tmp_path):
    narrow = fake_encoder.front_end()
    wide = dataclasses.replace(narrow, spec=dataclasses.replace(narrow.spec, width=5))
    with pytest.raises(ValueError, match=r"of \[\(4,\)\] a frame .* says \(5,\)"):
        encode_noise(table, tmp_path, wide)


# Resuming.


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


# The fingerprint.


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("weights", "fedcba9876543210"),
        ("model", "nobody/fake-large"),
        ("layer", "mean_last_4"),
        ("dtype", "bfloat16"),
        ("backend", "torch"),
        ("compat", True),
        ("version", 2),
    ],
)
def test_another_fingerprint_is_refused_with_both_values(
    table, tmp_path_factory, field, other
):
    root = tmp_path_factory.getbasetemp() / "fingerprint"
    encode_noise(table, root)
    was = getattr(fake_encoder.SPEC, field)
    with pytest.raises(
        ValueError, match=rf"made with {field}={was!r}, now it is {other!r}"
    ):
        encode_noise(table, root, fake_encoder.front_end(**{field: other}))


def test_parts_of_another_fingerprint_are_not_taken(table, tmp_path):
    with pytest.raises(PartsMissing):
        encode_noise(table, tmp_path, share=(1, 2))
    log = tmp_path / "log"
    other = fake_encoder.front_end(log=str(log), layer="7")
    found = encode_noise(table, tmp_path, other)
    assert encoded(log) == 64
    assert found.spec["layer"] == "7"


def test_training_takes_any_weights_and_no_other_version(table, tmp_path, monkeypatch):
    encode_noise(table, tmp_path, fake_encoder.front_end(weights="feed"))
    today = frontends.Pretrained(name="fake", kind="speech")
    monkeypatch.setitem(frontends.PRETRAINED, "fake", today)
    opened = store.open_streams(tmp_path, "noise", {"speech": "fake"})
    assert opened["speech"].spec["weights"] == "feed"
    newer = dataclasses.replace(today, version=2)
    monkeypatch.setitem(frontends.PRETRAINED, "fake", newer)
    with pytest.raises(ValueError, match="made with version=1, now it is 2"):
        store.open_streams(tmp_path, "noise", {"speech": "fake"})


def test_a_run_is_bound_to_the_weights_of_its_features(table, tmp_path, monkeypatch):
    today = frontends.Pretrained(name="fake", kind="speech")
    monkeypatch.setitem(frontends.PRETRAINED, "fake", today)
    experiment = tiny_corpus.experiment(speech="fake")
    experiment.data.corpus = "noise"
    workdir = tmp_path / "run"

    def opened(weights: str) -> Corpus:
        root = tmp_path / weights
        encode_noise(table, root, fake_encoder.front_end(weights=weights))
        roots = Roots(data=table.folder.parent, features=root, runs=tmp_path)
        return open_corpus(roots, experiment.data)

    first, second = opened("feed"), opened("beef")
    run_config.write(workdir, experiment, first)
    made_of = run_config.read(workdir)[1]
    want = dataclasses.replace(fake_encoder.SPEC, weights="feed")
    assert made_of["front_ends"] == {"speech": dataclasses.asdict(want)}
    with pytest.raises(
        ValueError, match=r"front_ends\.speech\.weights was 'feed', is 'beef'"
    ):
        run_config.write(workdir, experiment, second)
    predict._refuse_others(workdir, made_of, first)
    with pytest.raises(ValueError, match=r"'weights': 'feed'.*'weights': 'beef'"):
        predict._refuse_others(workdir, made_of, second)


# Failures.


def test_failures_have_their_reasons(own_table, tmp_path, monkeypatch):
    sounds = [own_table.audio_path(u) for u in own_table.utterances]
    sounds[0].unlink()
    soundfile.write(sounds[1], np.zeros(8000), 16_000)
    encode = fake_encoder.Encoder._encode

    def sometimes(self, x):
        frames = encode(self, x)
        if len(x) == round(own_table.utterances[2].seconds * 16_000):
            frames[0, 0] = 1e6  # Beyond float16.
        if len(x) == round(own_table.utterances[3].seconds * 16_000):
            return frames[:0]
        return frames

    monkeypatch.setattr(fake_encoder.Encoder, "_encode", sometimes)
    with pytest.raises(TooManyFailures, match=r"4 utterances .*failures=4"):
        encode_noise(own_table, tmp_path, max_failures=3)
    listed = tmp_path / "noise" / "fake" / "failures.csv"
    rows = tables.read_csv(listed, required=("utt_id", "reason"))
    assert [r["utt_id"] for r in rows] == ["u000", "u001", "u002", "u003"]
    now = own_table.utterances[1].sha256
    for row, reason in zip(
        rows,
        (
            "missing: there is no such file",
            f"the table says {now}",
            "fake made frames that are not finite",
            "fake made no frames",
        ),
        strict=True,
    ):
        assert reason in row["reason"]
    found = encode_noise(own_table, tmp_path, max_failures=4)
    assert list(found.failures) == [r["utt_id"] for r in rows]
    assert not listed.exists()
    assert tables.read_csv(found.folder / "failures.csv", required=()) == rows
    assert verify.verify(found.folder) == []


def test_a_shard_of_failures_alone_is_no_fault(own_table, tmp_path):
    for u in own_table.utterances[2:4]:
        own_table.audio_path(u).unlink()
    found = encode_noise(own_table, tmp_path, max_failures=2)
    assert verify.verify(found.folder) == []
    assert len(records(found)) == 30


def test_a_share_counts_its_own_failures(own_table, tmp_path):
    own_table.audio_path(own_table.utterances[0]).unlink()
    with pytest.raises(PartsMissing):
        encode_noise(own_table, tmp_path, share=(2, 2))
    with pytest.raises(TooManyFailures, match="1 utterances could not"):
        encode_noise(own_table, tmp_path, share=(1, 2))
    with pytest.raises(TooManyFailures):
        encode_noise(own_table, tmp_path, share=(2, 2))
    assert list(encode_noise(own_table, tmp_path, max_failures=1).failures) == ["u000"]


# Verifying.


def flip(path: pathlib.Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


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


@pytest.mark.parametrize("seed", range(8))
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


# By Beam, and as a user types it.


def test_beam_encodes_the_same(table, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    with pytest.raises(PartsMissing):
        encode_noise(table, tmp_path / "beam", share=(1, 2))
    log = tmp_path / "log"
    front_end = fake_encoder.front_end(log=str(log))
    found = encode_noise(
        table, tmp_path / "beam", front_end, beam="--runner=DirectRunner"
    )
    assert encoded(log) == 32
    assert records(found) == records(encode_noise(table, tmp_path / "plain"))


@pytest.mark.slow
def test_the_script_shares_and_verifies(table, tmp_path):
    def script(*flags: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts" / "extract.py")]
        command += [f"--table={table.folder}", f"--features_root={tmp_path}"]
        command += ["--frontend=char_ngrams", *flags]
        return subprocess.run(command, capture_output=True, text=True)

    first = script("--shard=1/2")
    assert first.returncode == 0, first.stderr
    assert "8 of 16 parts are missing" in first.stdout
    assert "64 utterances" in script("--shard=2/2").stdout
    assert "every record is as it was written" in script("--verify").stdout
    folder = store.dataset_folder(tmp_path, "noise", "char_ngrams")
    shard = sorted(folder.glob("*.array_record*"))[4]
    flip(shard, shard.stat().st_size // 2)
    damaged = script("--verify")
    assert damaged.returncode == 1
    assert shard.name in damaged.stderr
