import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from jser import files
from jser.ensemble import combiners, stacker_store, stacking
from tests.helpers.simulated_members import said


@pytest.mark.parametrize("kind", combiners.SETTINGS)
def test_a_saved_stacker_says_the_same(rng, tmp_path, kind):
    joined = stacking.join({"a": said(rng), "b": said(rng)})
    fitted = stacking.fit(kind, joined, seed=3)
    stacker_store.save(tmp_path, {-1: fitted})
    (loaded,) = stacker_store.load(tmp_path).values()
    want = stacking.apply(fitted, joined)
    np.testing.assert_array_equal(stacking.apply(loaded, joined).logits, want.logits)
    again = stacking.fit(kind, joined, seed=3)
    np.testing.assert_array_equal(stacking.apply(again, joined).logits, want.logits)
    for field in (
        *("kind", "members", "labels", "seed", "held_out", "importance", "made_by"),
        *("chosen", "candidates"),
    ):
        assert getattr(loaded, field) == getattr(fitted, field)
    assert loaded.learned_from == again.learned_from
    other = stacking.fit(kind, stacking.join({"a": said(rng), "b": said(rng)}), seed=3)
    assert other.learned_from != fitted.learned_from


def test_members_whose_attributes_are_read_are_kept(rng, tmp_path):
    plain = said(rng)
    rated = dataclasses.replace(plain, attributes=rng.uniform(1, 7, (len(plain), 3)))
    joined = stacking.join({"a": said(rng), "b": rated})
    fitted = stacking.fit("meta", joined, seed=3)
    stacker_store.save(tmp_path, {-1: fitted})
    (loaded,) = stacker_store.load(tmp_path).values()
    assert loaded.attributes_of == ("b",)
    want = stacking.apply(fitted, joined).logits
    np.testing.assert_array_equal(stacking.apply(loaded, joined).logits, want)
    stacker_store.save(tmp_path, {-1: dataclasses.replace(fitted, attributes_of=())})
    with pytest.raises(ValueError, match="of other members or labels"):
        stacker_store.load(tmp_path)


@pytest.mark.parametrize("kind", ["scaled_average", "best_member", "greedy"])
def test_what_has_no_model_needs_no_scikit_learn(rng, tmp_path, kind):
    (tmp_path / "stacker.skops").write_bytes(b"of an earlier stacker")
    fitted = stacking.fit(kind, stacking.join({"a": said(rng), "b": said(rng)}), 3)
    stacker_store.save(tmp_path, {-1: fitted})
    assert [p.name for p in tmp_path.iterdir()] == ["stack.json"]
    code = f"""
import pathlib, sys
from jser.ensemble import stacker_store
print(stacker_store.load(pathlib.Path({str(tmp_path)!r}))[-1].kind)
print({{"skops", "sklearn"}} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{kind}\nset()\n", done.stderr


def test_stackers_of_schema_1_are_read(rng, tmp_path):
    """It kept all of them in the file of skops."""
    import skops.io

    fitted = stacking.fit("scaled_average", stacking.join({"a": said(rng)}), 3)
    stacker_store.save(tmp_path, {-1: fitted})
    record = files.read_json(tmp_path / "stack.json")
    (numbers,) = (fold.pop("estimators") for fold in record["folds"].values())
    old = {
        "-1": [
            {**{f: np.array(x) for f, x in e.items()}, "model": None} for e in numbers
        ]
    }
    skops.io.dump(old, tmp_path / "stacker.skops")
    digest = files.file_digest(tmp_path / "stacker.skops")
    files.write_json(tmp_path / "stack.json", record | {"schema": 1, "sha256": digest})
    (read,) = stacker_store.load(tmp_path).values()
    for ours, its in zip(fitted.estimators, read.estimators, strict=True):
        np.testing.assert_array_equal(ours.temperature, its.temperature)
        np.testing.assert_array_equal(ours.weight, its.weight)


def test_numbers_of_other_members_are_refused(rng, tmp_path):
    fitted = stacking.fit("scaled_average", stacking.join({"a": said(rng)}), 3)
    wide = dataclasses.replace(fitted, members=("a", "b"))
    stacker_store.save(tmp_path, {-1: wide})
    with pytest.raises(ValueError, match="not a number for each of 2 members"):
        stacker_store.load(tmp_path)


def test_another_file_than_the_one_named_is_refused(rng, tmp_path):
    stacker_store.save(
        tmp_path, {-1: stacking.fit("oof", stacking.join({"a": said(rng)}), 3)}
    )
    (tmp_path / "stacker.skops").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"not the file stack\.json names"):
        stacker_store.load(tmp_path)


@pytest.mark.parametrize("field", ["children_left", "children_right", "feature"])
def test_a_tree_that_leads_elsewhere_is_refused(rng, tmp_path, field):
    """Followed, such an index reads memory that is not the tree's."""
    fitted = stacking.fit("oof", stacking.join({"a": said(rng)}), seed=3)
    getattr(fitted.estimators[-1].model.estimators_[-1].tree_, field)[0] = 10**6
    stacker_store.save(tmp_path, {-1: fitted})
    with pytest.raises(ValueError, match="a tree"):
        stacker_store.load(tmp_path)


@pytest.mark.parametrize("field", ["left", "right", "feature_idx", "is_categorical"])
def test_boosting_that_leads_elsewhere_is_refused(rng, tmp_path, field):
    fitted = stacking.fit("boosting", stacking.join({"a": said(rng)}), seed=3)
    nodes = fitted.estimators[-1].model._predictors[-1][-1].nodes
    nodes[field][0] = 1 if field == "is_categorical" else 10**6
    stacker_store.save(tmp_path, {-1: fitted})
    with pytest.raises(ValueError, match=r"a tree|categories"):
        stacker_store.load(tmp_path)


def test_a_model_of_another_kind_or_width_is_refused(rng, tmp_path):
    narrow = stacking.fit("oof", stacking.join({"a": said(rng)}), seed=3)
    wide = dataclasses.replace(narrow, members=("a", "b"))
    stacker_store.save(tmp_path, {-1: wide})
    with pytest.raises(ValueError, match="of other members or labels"):
        stacker_store.load(tmp_path)
    stacker_store.save(tmp_path, {-1: dataclasses.replace(narrow, kind="logistic")})
    with pytest.raises(ValueError, match="RandomForestClassifier in a logistic"):
        stacker_store.load(tmp_path)


def test_another_choice_than_its_estimators_is_refused(rng, tmp_path):
    fitted = stacking.fit("chosen", stacking.join({"a": said(rng)}), seed=3)
    assert fitted.chosen == "scaled_average"
    stacker_store.save(tmp_path, {-1: dataclasses.replace(fitted, chosen="oof")})
    with pytest.raises(ValueError, match="NoneType in a oof stacker"):
        stacker_store.load(tmp_path)
    stacker_store.save(tmp_path, {-1: dataclasses.replace(fitted, chosen="paper")})
    with pytest.raises(ValueError, match="'paper' cannot have been chosen"):
        stacker_store.load(tmp_path)


def test_kinds_that_choose_nothing_write_what_they_did(rng, tmp_path):
    """Their stack.json is that of versions which knew no choice."""
    fitted = stacking.fit("oof", stacking.join({"a": said(rng)}), seed=3)
    stacker_store.save(tmp_path, {-1: fitted})
    (about,) = files.read_json(tmp_path / "stack.json")["folds"].values()
    assert set(about) == {"made_by", "learned_from", "held_out", "importance"}
