import dataclasses

import numpy as np
import pytest

from jser.ensemble.logits import Logits
from tests.helpers import simulated_members


def rated(rng, **options) -> Logits:
    said = simulated_members.said(rng, **options)
    attributes = rng.uniform(1, 7, (len(said), 3)).astype(np.float32)
    return dataclasses.replace(said, attributes=attributes)


def test_attributes_go_with_their_rows(rng, tmp_path):
    said, path = rated(rng), tmp_path / "test.npz"
    rows = rng.permutation(len(said))
    said.take(rows).save(path)
    np.testing.assert_array_equal(Logits.load(path).attributes, said.attributes)
    parts = [said.take(said.fold == k) for k in range(simulated_members.SPEAKERS)]
    whole = Logits.concatenate(parts[::-1])
    np.testing.assert_array_equal(whole.attributes, said.attributes)
    found = said.among(("emotion0",))
    np.testing.assert_array_equal(found.attributes, said.attributes[said.label == 0])


def test_without_attributes_there_are_no_columns(rng, tmp_path):
    said, path = simulated_members.said(rng), tmp_path / "test.npz"
    assert said.attributes.shape == (len(said), 0)
    assert said.take(np.arange(3)).attributes.shape == (3, 0)
    assert Logits.concatenate([said]).attributes.shape == (len(said), 0)
    columns = dataclasses.asdict(said)
    del columns["attributes"]
    np.savez(path, **columns, schema=np.array(2))  # As the version before wrote it.
    assert Logits.load(path).attributes.shape == (len(said), 0)


def test_attributes_of_some_parts_alone_are_refused(rng):
    said = rated(rng)
    plain = dataclasses.replace(said, attributes=np.zeros((0, 0), np.float32))
    parts = [said.take(np.arange(9)), plain.take(np.arange(9, 20))]
    with pytest.raises(
        ValueError, match=r"dominance are .*'u00000' and not of 'u00009'.*tasks\.attri"
    ):
        Logits.concatenate(parts)
    assert len(Logits.concatenate([said, plain.take(np.arange(0))])) == len(said)


def test_attributes_that_make_no_sense_are_not_read(rng, tmp_path):
    said, path = rated(rng), tmp_path / "test.npz"
    said.attributes[7, 2] = np.nan
    message = r"test\.npz: the attributes of 1 utterances, e\.g\. 'u00007', are not all"
    with pytest.raises(ValueError, match=message):
        said.save(path)
    for attributes in (np.ones((len(said), 2)), np.ones((3, 3)), np.ones(())):
        np.savez(path, **dataclasses.asdict(said) | {"attributes": attributes})
        with pytest.raises(ValueError, match=r"test\.npz: damaged"):
            Logits.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_neither_written_nor_read(rng, tmp_path, value):
    good = simulated_members.said(rng)
    logits = good.logits.copy()
    logits[7, 1] = value
    path = tmp_path / "test.npz"
    message = r"test\.npz: the logits of 1 utterances, e\.g\. 'u00007', are not all"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, logits=logits).save(path)
    assert not path.exists()
    columns = dataclasses.asdict(good) | {"logits": logits}
    np.savez(path, **columns)
    with pytest.raises(ValueError, match=message + ".*jser predict"):
        Logits.load(path)


def test_columns_that_were_edited_are_noticed(rng, tmp_path):
    path = tmp_path / "test.npz"
    good = simulated_members.said(rng)
    good.save(path)
    with np.load(path) as data:
        columns = {name: data[name] for name in data.files}
    columns["logits"][3, 0] += 1e-3
    np.savez(path, **columns)
    with pytest.raises(ValueError, match=r"test\.npz: its arrays were edited.*predict"):
        Logits.load(path)
    del columns["content"]  # As earlier versions wrote it.
    np.savez(path, **columns)
    assert len(Logits.load(path)) == len(good)


def test_what_was_asked_is_kept_and_of_older_files_nothing(rng, tmp_path):
    path = tmp_path / "test.npz"
    asked = {"trained_on": "one@0", "table": "two", "fingerprint": "1"}
    said = dataclasses.replace(
        simulated_members.said(rng), adapt="target", merged=np.array(["a=b"]), **asked
    )
    said.save(path)
    found = Logits.load(path)
    for field in (*asked, "adapt"):
        assert getattr(found, field) == getattr(said, field)
    assert found.merged.tolist() == ["a=b"]
    with np.load(path) as data:
        columns = {name: data[name] for name in data.files}
    for name in (*asked, "adapt", "merged", "content"):
        del columns[name]
    np.savez(path, **columns | {"schema": np.array(1)})  # As earlier versions wrote it.
    older = Logits.load(path)
    assert (older.table, older.fingerprint, older.trained_on) == ("", "", "")
    assert (older.adapt, older.merged.tolist()) == ("none", [])


def test_what_can_be_scored_among_some_labels(rng):
    said = simulated_members.said(rng)
    label, in_sample = said.label.copy(), said.in_sample.copy()
    label[:3], in_sample[5] = -1, True
    said = dataclasses.replace(said, label=label, in_sample=in_sample)
    assert said.occurring() == tuple(said.labels)
    found = said.among(("emotion0", "emotion2"))
    rows = (label != 1) & (label >= 0) & ~in_sample
    assert found.utt_id.tolist() == said.utt_id[rows].tolist()
    np.testing.assert_array_equal(found.logits, said.logits[rows][:, [0, 2]])
    np.testing.assert_array_equal(found.label, label[rows] // 2)
    assert found.labels.tolist() == ["emotion0", "emotion2"]
