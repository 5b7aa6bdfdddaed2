from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jser.corpora import splits
from jser.corpora.utterances import Utterance


def rows(counts: list[int], emotions: int = 3) -> list[Utterance]:
    """Speaker i has counts[i] utterances, their emotions in turn."""
    return [
        Utterance(
            utt_id=f"{s}-{k}", file="x.wav", emotion=str(k % emotions), speaker=str(s)
        )
        for s, n in enumerate(counts)
        for k in range(n)
    ]


@given(
    st.lists(st.integers(1, 20), min_size=5, max_size=15),
    st.sampled_from(["speakers", "kfold", "loso"]),
    st.integers(0, 3),
)
def test_no_speaker_is_on_two_sides(counts, policy, seed):
    found = splits.assign(rows(counts), policy, folds=3, seed=seed)
    assert found == splits.assign(rows(counts), policy, folds=3, seed=seed)
    for speaker in {u.speaker for u in found}:
        mine = [u for u in found if u.speaker == speaker]
        assert len({(u.split, u.fold) for u in mine}) == 1
    sides = {u.split for u in found} if policy == "speakers" else {"cv"}
    assert {u.split for u in found} == sides
    if policy == "speakers":
        assert sides == {"train", "dev", "test"}
    if policy == "kfold":
        assert {u.fold for u in found} == {0, 1, 2}
    if policy == "loso":
        assert len({u.fold for u in found}) == len(counts)


def test_shares_are_kept_and_emotions_alike():
    found = splits.assign(rows([30] * 40), "speakers", folds=5, seed=0)
    count = Counter(u.split for u in found)
    assert count["train"] == pytest.approx(0.7 * 1200, abs=30)
    assert count["dev"] == pytest.approx(0.15 * 1200, abs=30)
    fold = Counter(u.fold for u in found if u.split == "train")
    assert set(fold) == {0, 1, 2, 3, 4}
    assert max(fold.values()) - min(fold.values()) <= 60
    assert all(u.fold is None for u in found if u.split != "train")


def test_another_seed_is_another_draw():
    draws = [splits.assign(rows([5] * 20), "speakers", folds=2, seed=s) for s in (0, 1)]
    assert draws[0] != draws[1]


def test_speakers_must_be_known():
    nameless = [Utterance(utt_id="a", file="a.wav", emotion="sad")]
    with pytest.raises(ValueError, match=r"1 utterances have no speaker.*--split utt"):
        splits.assign(nameless, "speakers", folds=5, seed=0)


def test_more_folds_than_speakers_are_refused():
    with pytest.raises(ValueError, match="2 speakers cannot fill 5 parts"):
        splits.assign(rows([3, 3]), "kfold", folds=5, seed=0)


def test_given_splits_must_be_given():
    with pytest.raises(ValueError, match="have no split"):
        splits.assign(rows([3, 3]), "given", folds=5, seed=0)


def with_folds(base: list[Utterance]) -> list[Utterance]:
    return [Utterance(**(vars(u) | {"fold": int(u.speaker)})) for u in base]


def test_folds_without_splits_are_the_protocol():
    found = splits.assign(with_folds(rows([3, 3])), "given", folds=5, seed=0)
    assert [(u.split, u.fold) for u in found] == [("cv", 0)] * 3 + [("cv", 1)] * 3


def test_rows_with_neither_split_nor_fold_are_refused():
    mixed = [*with_folds(rows([3])), *rows([0, 2])]
    with pytest.raises(ValueError, match=r"3 utterances have a fold.* 2 .*'1-0'"):
        splits.assign(mixed, "given", folds=5, seed=0)


@pytest.mark.parametrize("policy", ["kfold", "speakers", "loso"])
def test_folds_that_are_replaced_are_named(policy, caplog):
    splits.assign(with_folds(rows([3, 3, 3])), policy, folds=2, seed=0)
    assert f"--split {policy} replaces the folds" in caplog.text
    caplog.clear()
    splits.assign(rows([3, 3, 3]), policy, folds=2, seed=0)
    assert not caplog.text


def test_unknown_policy_lists_the_known():
    with pytest.raises(ValueError, match="given, speakers, kfold, loso, utterances"):
        splits.assign(rows([3, 3]), "random", folds=5, seed=0)


def test_utterances_of_unknown_speakers_share_a_fold():
    base = rows([6] * 6)
    mixed = [
        Utterance(utt_id=f"n{k}", file="x.wav", emotion="0", split="train")
        for k in range(9)
    ]
    given_ = [Utterance(**(vars(u) | {"split": "train"})) for u in base]
    found = splits.assign([*given_, *mixed], "given", folds=3, seed=0)
    assert len({u.fold for u in found if not u.speaker}) == 1
