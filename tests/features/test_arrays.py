"""Features of one's own."""

import csv
import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from jser.corpora import prepare
from jser.features import arrays, store, verify
from jser.features.extract import TooManyFailures, extract
from tests.helpers import fake_encoder

IDS = tuple(f"{speaker}/{emotion}" for speaker in "ab" for emotion in ("angry", "sad"))


@pytest.fixture
def table(tmp_path):
    """Without sounds."""
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(("utt_id", "emotion", "speaker", "split", "transcript"))
        for u in IDS:
            speaker, emotion = u.split("/")
            split = {"a": "train", "b": "test"}[speaker]
            writer.writerow((u, emotion, speaker, split, f"{speaker} is {emotion}"))
    return prepare.prepare("csv", path, tmp_path / "data" / "mine")


@pytest.fixture
def made(rng):
    return {
        u: rng.standard_normal((3 + i, 4)).astype(np.float32) for i, u in enumerate(IDS)
    }


def write(folder, made, form):
    if form == "npz":
        np.savez(folder / "words.npz", allow_pickle=False, **made)
        return folder / "words.npz"
    if form == "safetensors":
        save_file(made, folder / "words.safetensors")
        return folder / "words.safetensors"
    for u, array in made.items():
        path = folder / "words" / f"{u}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder / "words"


@pytest.mark.parametrize("form", ["npz", "safetensors", "folder"])
@pytest.mark.parametrize("layers", [1, 3])
def test_arrays_become_a_stream(table, made, tmp_path, form, layers):
    if layers > 1:
        made = {u: np.stack([x] * layers, axis=1) for u, x in made.items()}
    source = write(tmp_path, made | {"of nobody": made[IDS[0]]}, form)
    front_end = arrays.front_end(table, source, name="words", kind="text")
    extract(table, front_end, tmp_path / "features")
    streams = {"text": "words"}
    features = store.open_streams(tmp_path / "features", "mine", streams)["text"]
    for u, want in made.items():
        (got,) = features.read([features.record[u]])
        np.testing.assert_array_equal(got, want.astype(np.float16))
    assert not verify.verify(features.folder)
    store.refuse_other_inputs(table, table.utterances, features)
    other = dataclasses.replace(table.utterances[0], transcript="changed")
    with pytest.raises(ValueError, match="--frontend array --name words --source"):
        store.refuse_other_inputs(table, [other], features)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda made: made.pop(IDS[2]), "no array named 'b/angry'"),
        (lambda made: made.update({IDS[2]: np.ones((3, 5))}), r"float64 \(3, 5\)"),
        (lambda made: made.update({IDS[2]: np.ones(4)}), r"float64 \(4,\)"),
        (lambda made: made.update({IDS[2]: np.ones((3, 4), int)}), "int64"),
        (lambda made: made.update({IDS[2]: np.full((3, 4), np.nan)}), "not finite"),
        (lambda made: made.update({IDS[2]: np.ones((0, 4))}), "no frames"),
    ],
)
def test_an_odd_array_is_a_failure_of_its_utterance(table, made, tmp_path, change, why):
    change(made)
    source = write(tmp_path, made, "npz")
    front_end = arrays.front_end(table, source, name="words", kind="text")
    with pytest.raises(TooManyFailures, match=f"b/angry.*{why}"):
        extract(table, front_end, tmp_path / "features")
    features = extract(table, front_end, tmp_path / "features", max_failures=1)
    assert set(features.utt_id) == {*IDS} - {IDS[2]}


def test_a_table_without_sounds_says_so(table, tmp_path):
    assert "0 sound files whose header" in prepare.describe(table)
    with pytest.raises(TooManyFailures, match="a/angry: missing: the table has no so"):
        extract(table, fake_encoder.front_end(), tmp_path / "features")


def test_a_damaged_file_is_a_failure_of_its_utterance(table, made, tmp_path):
    source = write(tmp_path, made, "folder")
    (source / f"{IDS[1]}.npy").write_bytes(b"no array")
    front_end = arrays.front_end(table, source, name="words", kind="text")
    features = extract(table, front_end, tmp_path / "features", max_failures=1)
    assert IDS[1] in features.failures


def test_another_source_is_refused_until_the_features_are_removed(
    table, made, tmp_path
):
    for factor in (1, 2):
        source = write(tmp_path, {u: factor * x for u, x in made.items()}, "npz")
        front_end = arrays.front_end(table, source, name="words", kind="text")
        if factor == 1:
            extract(table, front_end, tmp_path / "features")
    with pytest.raises(ValueError, match=r"made with weights=.*words and run"):
        extract(table, front_end, tmp_path / "features")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "logmel"}, "that no front end has"),
        ({"name": "../up"}, "letters, digits and _"),
        ({"kind": "video"}, "'video' is not one of speech, text"),
        ({"source": "missing.npz"}, "no such file or folder"),
        ({"source": "damaged.npz"}, "damaged.npz"),
        ({"source": "others.npz"}, "no array of an utterance of .* it has 'x'"),
    ],
)
def test_what_is_no_source_is_refused(table, tmp_path, options, message):
    (tmp_path / "damaged.npz").write_bytes(b"PK no zip")
    np.savez(tmp_path / "others.npz", allow_pickle=False, x=np.ones((2, 4)))
    given = {"source": "others.npz", "name": "words", "kind": "text"} | options
    source = tmp_path / given.pop("source")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        arrays.front_end(table, source, **given)
