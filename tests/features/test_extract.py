import dataclasses
import random
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile

from jser import files
from jser.corpora import csv_rows
from jser.data import collation
from jser.data.corpus import Corpus, open_corpus
from jser.data.padding import LengthBuckets
from jser.data.split import Split
from jser.ensemble import run_config
from jser.features import frontends, shards, store, verify
from jser.features.extract import PartsMissing, TooManyFailures
from jser.models import fusion
from jser.roots import Roots
from jser.training import predict
from tests.helpers import fake_encoder, tiny_corpus
from tests.helpers.fake_encoder import encode_noise, encoded, records
from tests.helpers.files import flip
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.usefixtures("many_shards")


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


def test_many_layers_reach_the_model(table, tmp_path):
    found = encode_noise(table, tmp_path, fake_encoder.front_end(layers=3))
    split = Split.join(table, table.utterances[:6], {"speech": found})
    buckets = LengthBuckets.of(split.length, 1)
    batch = collation.collate(
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


def test_another_shape_than_the_specs_is_refused(table, tmp_path):
    narrow = fake_encoder.front_end()
    wide = dataclasses.replace(narrow, spec=dataclasses.replace(narrow.spec, width=5))
    with pytest.raises(ValueError, match=r"of \[\(4,\)\] a frame .* says \(5,\)"):
        encode_noise(table, tmp_path, wide)


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
        ("context", "short"),
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
    assert made_of["front_ends"] == {"speech": want.described()}
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
    rows = csv_rows.read_csv(listed, required=("utt_id", "reason"))
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
    assert csv_rows.read_csv(found.folder / "failures.csv", required=()) == rows
    assert verify.verify(found.folder) == []


def test_what_a_decoder_raises_is_the_failure_of_one(own_table, tmp_path, monkeypatch):
    read, digest = soundfile.SoundFile.read, files.file_digest

    def read_but_one(self, *arguments, **options):
        if str(self.name).endswith("u003.wav"):
            raise MemoryError("Unable to allocate 128 GiB")
        return read(self, *arguments, **options)

    def digest_but_one(path):
        if path.name == "u004.wav":
            raise PermissionError(13, "Permission denied")
        return digest(path)

    monkeypatch.setattr(soundfile.SoundFile, "read", read_but_one)
    monkeypatch.setattr(files, "file_digest", digest_but_one)
    found = encode_noise(own_table, tmp_path, max_failures=2)
    first, second = (
        own_table.audio_path(u).absolute() for u in own_table.utterances[3:5]
    )
    assert found.failures == {
        "u003": f"{first}: unreadable: MemoryError: Unable to allocate 128 GiB",
        "u004": f"{second}: unreadable: Permission denied",
    }


def test_what_is_too_long_is_a_failure(table, tmp_path):
    seconds = sorted(u.seconds for u in table.utterances)
    with pytest.raises(TooManyFailures, match=r"^4 utterances .*: too long: more than"):
        encode_noise(table, tmp_path, max_hours=seconds[-5] / 3600 + 1e-9)


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
