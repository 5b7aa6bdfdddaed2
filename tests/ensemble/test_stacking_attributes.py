import dataclasses

import numpy as np
import pytest

from jser.ensemble import stacking
from jser.ensemble.logits import Logits
from tests.helpers.simulated_members import said


def rated(rng, member: Logits, *, tell: float = 0.0) -> Logits:
    """With attributes that tell the class, or nothing."""
    attributes = rng.uniform(1, 7, (len(member), 3))
    attributes[:, 0] += tell * member.label
    return dataclasses.replace(member, attributes=attributes.astype(np.float32))


def test_attributes_of_a_combination_are_the_mean(rng):
    a, b, plain = rated(rng, said(rng)), rated(rng, said(rng)), said(rng)
    shuffled = b.take(rng.permutation(len(b)))
    joined = stacking.join({"a": a, "plain": plain, "b": shuffled})
    assert tuple(joined.attributes) == ("a", "b")
    np.testing.assert_array_equal(joined.rated[:, 3:], b.attributes)
    mean = (a.attributes + b.attributes) / 2
    for found in (
        stacking.average(joined),
        stacking.apply(stacking.fit("oof", joined, seed=0), joined),
    ):
        np.testing.assert_allclose(found.attributes, mean, rtol=1e-6)
    none = stacking.average(stacking.join({"plain": plain, "again": said(rng)}))
    assert none.attributes.shape == (len(plain), 0)


def test_meta_learns_from_attributes(rng):
    """Members whose logits know nothing, and one whose arousal tells the class."""
    plain = {m: said(rng, skill=0.0) for m in "ab"}
    telling = plain | {"b": rated(rng, plain["b"], tell=9.0)}
    blind = stacking.fit("meta", stacking.join(plain), seed=0)
    seeing = stacking.fit("meta", stacking.join(telling), seed=0)
    assert blind.held_out["accuracy"] < 0.45
    assert seeing.held_out["accuracy"] > 0.8
    assert (blind.attributes_of, seeing.attributes_of) == ((), ("b",))
    other = plain | {"b": rated(rng, plain["b"])}
    again = stacking.fit("meta", stacking.join(other), seed=0)
    assert again.learned_from != seeing.learned_from


def test_attributes_of_other_members_than_fitted_with_are_refused(rng):
    plain = {m: said(rng) for m in "ab"}
    fitted = stacking.fit(
        "meta", stacking.join(plain | {"a": rated(rng, plain["a"])}), seed=0
    )
    with pytest.raises(ValueError, match="with attributes of a, not b; stack again"):
        stacking.apply(fitted, stacking.join(plain | {"b": rated(rng, plain["b"])}))
    with pytest.raises(ValueError, match="with attributes of a, not nobody; stack"):
        stacking.apply(fitted, stacking.join(plain))
