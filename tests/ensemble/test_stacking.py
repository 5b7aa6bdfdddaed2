import dataclasses
import itertools
import warnings

from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn import ensemble, model_selection

from jser.ensemble import combiners, stacking
from jser.ensemble.logits import Logits
from tests.helpers.simulated_members import CLASSES, EACH, SPEAKERS, said

KINDS = tuple(combiners.SETTINGS)
LEARNED = tuple(k for k in KINDS if k != "paper")


def accuracy(found: Logits) -> float:
    return float((found.logits.argmax(1) == found.label).mean())


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "best_member"])
def test_two_members_beat_each_alone(rng, kind):
    members = {m: said(rng, skill=1.0, each=120) for m in "ab"}
    alone = max(accuracy(m) for m in members.values())
    train, test = (
        stacking.join({m: x.take(rows) for m, x in members.items()})
        for rows in (np.arange(480), np.arange(480, 720))
    )
    stacker = stacking.fit(kind, train, seed=0)
    assert accuracy(stacking.apply(stacker, test)) > alone
    assert accuracy(stacking.average(stacking.join(members))) > alone


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one(rng, kind):
    joined = stacking.join({"a": said(rng), "b": said(rng)})
    for found in (
        stacking.average(joined),
        stacking.apply(stacking.fit(kind, joined, seed=0), joined),
    ):
        np.testing.assert_allclose(np.exp(found.logits).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", LEARNED)
def test_a_class_that_was_never_met_is_never_said(rng, kind):
    joined = stacking.join({"a": said(rng, classes=4), "b": said(rng, classes=4)})
    known = stacking._take(joined, np.flatnonzero(joined.first.label != 2))
    found = stacking.apply(stacking.fit(kind, known, seed=0), joined)
    assert found.logits.shape == joined.first.logits.shape
    if combiners.MODELS.get(kind):
        assert np.exp(found.logits[:, 2]).max() < 1e-9


def test_a_constant_added_to_logits_changes_nothing(rng):
    one = said(rng)
    moved = dataclasses.replace(one, logits=one.logits + rng.random((len(one), 1)))
    np.testing.assert_allclose(
        stacking.join({"a": one}).log_p, stacking.join({"a": moved}).log_p, atol=1e-5
    )


def test_the_order_of_rows_changes_nothing(rng):
    one, other = said(rng), said(rng)
    shuffled = one.take(rng.permutation(len(one)))
    want = stacking.join({"a": one, "b": other})
    got = stacking.join({"a": shuffled, "b": other})
    np.testing.assert_array_equal(got.logits, want.logits)


@pytest.mark.parametrize("kind", LEARNED)
def test_logits_of_rows_a_member_was_trained_on_are_refused(rng, kind):
    fair, unfair = said(rng), said(rng, in_sample=True)
    with pytest.raises(ValueError, match=r"240 utterances.*data\.holdout"):
        stacking.fit(kind, stacking.join({"a": fair, "b": unfair}), seed=0)


@pytest.mark.parametrize("kind", LEARNED)
def test_logits_of_speakers_a_member_was_trained_on_are_refused(rng, kind):
    fair, heard = said(rng), said(rng)
    heard.speaker_seen[7] = True
    with pytest.raises(ValueError, match=r"1 utterances, e\.g\. 'u00007', are by spea"):
        stacking.fit(kind, stacking.join({"a": fair, "b": heard}), seed=0)


def test_one_speaker_alone_is_refused(rng):
    with pytest.raises(ValueError, match=r"all 40 utterances are by 's0'.*'average'"):
        stacking.fit("oof", stacking.join({"a": said(rng, speakers=1)}), seed=0)


def test_paper_needs_five_of_each_class(rng):
    few = said(rng, speakers=1, each=12, in_sample=True)
    with pytest.raises(ValueError, match=r"5 utterances of each class.*has 4"):
        stacking.fit("paper", stacking.join({"a": few}), seed=0)


def test_held_back_labels_are_refused(rng):
    hidden = dataclasses.replace(said(rng), label=np.full(SPEAKERS * EACH, -1))
    with pytest.raises(ValueError, match="held back"):
        stacking.fit("oof", stacking.join({"a": hidden}), seed=0)


def test_parts_of_oof_learn_from_balanced_rows(rng):
    label = np.repeat(np.arange(3), (300, 60, 100))
    drawn = label[combiners.balanced_rows(label, 0, at_least=50)]
    assert np.bincount(drawn).tolist() == [60, 60, 60]
    label = np.repeat(np.arange(3), (300, 7, 100))
    drawn = label[combiners.balanced_rows(label, 0, at_least=50)]
    assert np.bincount(drawn).tolist() == [50, 7, 50]


def test_every_base_estimator_of_oof_learns_from_a_draw_of_its_own(rng, monkeypatch):
    """All speakers are alike, so that all five draw from the same labels."""
    rows = said(rng, speakers=5, each=100)
    label = np.tile(np.repeat(np.arange(CLASSES), (20, 40, 40)), 5)
    draw, draws = combiners.balanced_rows, []

    def record(label, *arguments, **options):
        drawn = draw(label, *arguments, **options)
        draws.append((label.tolist(), drawn.tolist()))
        return drawn

    monkeypatch.setattr(stacking, "balanced_rows", record)
    joined = stacking.join({"a": dataclasses.replace(rows, label=label)})
    stacking.fit("oof", joined, seed=0)
    labels, drawn = zip(*draws, strict=True)
    assert all(x == labels[0] for x in labels)
    assert len({tuple(x) for x in drawn}) == 5


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=20),
    st.booleans(),
    st.integers(0, 5),
)
def test_no_speaker_crosses_the_folds(counts, nameless, seed):
    rng = np.random.default_rng(seed)
    rows = said(rng, speakers=1, each=sum(counts))
    speaker = np.repeat([f"s{k}" for k in range(len(counts))], counts)
    rows = dataclasses.replace(
        rows,
        speaker=np.where(speaker == "s0", "", speaker) if nameless else speaker,
        label=rng.integers(0, 3, len(rows)),
    )
    commonest = np.bincount(rows.label).max()
    assume(commonest > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Classes rarer than folds.
        folds = list(stacking._folds("oof", rows, seed))
    assert len(folds) == min(5, len(counts), commonest)
    for fitted_on, rest in folds:
        assert not set(rows.speaker[fitted_on]) & set(rows.speaker[rest])
        assert len(fitted_on) + len(rest) == len(rows)
    every = np.concatenate([rest for _, rest in folds])
    assert sorted(every) == list(range(len(rows)))


@pytest.mark.parametrize("trees", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_the_paper_stacker_is_a_literal_transcription(rng, monkeypatch, trees):
    """Tree by tree: all 200 if slow, else the first 40."""
    monkeypatch.setitem(combiners.SETTINGS["paper"], "n_estimators", trees)
    counts = (90, 80, 200, 60, 40, 50, 70, 300)
    label = rng.permutation(np.repeat(np.arange(8), counts))
    members = {}
    for m in range(3):
        base = said(rng, speakers=10, each=len(label) // 10, classes=8, in_sample=True)
        noise = 2 * rng.standard_normal(base.logits.shape)
        logits = (3 * np.eye(8)[label] + noise).astype(np.float32)
        members[f"m{m}"] = dataclasses.replace(base, label=label, logits=logits)
    joined = stacking.join(members)
    found = stacking.fit("paper", joined, seed=42)

    rows = []
    for c in dict.fromkeys(label.tolist()):
        mine = np.flatnonzero(label == c)
        drawn = np.random.RandomState(42).choice(len(mine), min(counts), replace=False)
        rows += mine[drawn].tolist()
    rows.sort()
    table = [
        [float(f"{x:.4f}") for m in members.values() for x in m.logits[i]] for i in rows
    ]
    X, y = np.array(table), label[rows]
    assert X.shape == (8 * 40, 24)
    folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=42)
    forests = [
        ensemble.RandomForestClassifier(
            random_state=42,
            n_estimators=trees,
            max_depth=8,
            criterion="gini",
            min_samples_leaf=10,
            min_samples_split=10,
        ).fit(X[fitted_on], y[fitted_on])
        for fitted_on, _ in folds.split(X, y)
    ]
    assert len(found.estimators) == 5
    for part, forest in zip(found.estimators, forests, strict=True):
        pairs = zip(part.model.estimators_, forest.estimators_, strict=True)
        for mine, theirs in pairs:
            for array in ("children_left", "children_right", "feature", "threshold"):
                np.testing.assert_array_equal(
                    getattr(mine.tree_, array), getattr(theirs.tree_, array)
                )
            np.testing.assert_array_equal(mine.tree_.value, theirs.tree_.value)
    every = np.array(
        [
            [float(f"{x:.4f}") for m in members.values() for x in m.logits[i]]
            for i in range(len(label))
        ]
    )
    p = np.mean([f.predict_proba(every) for f in forests], axis=0)
    np.testing.assert_allclose(
        np.exp(stacking.apply(found, joined).logits), p, rtol=1e-6, atol=1e-9
    )


@pytest.mark.slow
def test_a_planted_leak_flatters_paper_and_not_oof(rng, monkeypatch):
    """Members that learned pure noise by heart: they know their training rows alone."""
    for kind in ("paper", "oof"):
        monkeypatch.setitem(combiners.SETTINGS[kind], "n_estimators", 50)
    shape = {"speakers": 40, "each": 40, "classes": 8}
    by_heart = {m: said(rng, skill=2.0, in_sample=True, **shape) for m in "ab"}
    of_new = {m: said(rng, skill=0.0, **shape) for m in "ab"}
    in_sample, out_of_fold = stacking.join(by_heart), stacking.join(of_new)

    paper = stacking.fit("paper", in_sample, seed=42)
    fair = stacking.fit("oof", out_of_fold, seed=42)
    # 12.5 % of 1,600 utterances, give or take four standard errors of 0.8 %.
    chance = pytest.approx(1 / 8, abs=0.033)
    assert paper.held_out["accuracy"] > 0.4
    assert accuracy(stacking.apply(paper, in_sample)) > 0.4
    assert fair.held_out["accuracy"] == chance
    # Neither knows anything of new utterances, whatever it claimed before.
    for stacker in (paper, fair):
        new = stacking.join({m: said(rng, skill=0.0, **shape) for m in "ab"})
        assert accuracy(stacking.apply(stacker, new)) == chance
    with pytest.raises(ValueError, match="in their member's training"):
        stacking.fit("oof", in_sample, seed=42)


def test_members_must_hold_the_same(rng):
    one, other = said(rng), said(rng)
    with pytest.raises(
        ValueError, match=r"b and a do not hold the same.*1 are.*'u00000'"
    ):
        stacking.join({"a": one, "b": other.take(np.arange(1, len(other)))})
    relabelled = dataclasses.replace(other, label=(other.label + 1) % 3)
    with pytest.raises(ValueError, match="differ in the label of 'u00000'"):
        stacking.join({"a": one, "b": relabelled})
    renamed = dataclasses.replace(other, labels=np.array(["x", "y", "z"]))
    with pytest.raises(ValueError, match="different label sets"):
        stacking.join({"a": one, "b": renamed})


def test_other_members_than_fitted_with_are_refused(rng):
    fitted = stacking.fit(
        "oof", stacking.join({"a": said(rng), "b": said(rng)}), seed=0
    )
    with pytest.raises(ValueError, match="members a, b, not b, a"):
        stacking.apply(fitted, stacking.join({"b": said(rng), "a": said(rng)}))


def nested(rng, skill: float = 1.5):
    """Members' logits when trained without one fold and without each pair."""
    outer, inner = {}, {}
    for member in ("a", "b"):
        whole = said(rng, skill=skill)
        outer[member] = {k: whole.take(whole.fold == k) for k in range(SPEAKERS)}
        inner[member] = {
            pair: whole.take(np.isin(whole.fold, pair))
            for pair in itertools.combinations(range(SPEAKERS), 2)
        }
    return outer, inner


def stacked(kind, outer, inner):
    folds = range(SPEAKERS)
    return stacking.cross_validate(
        kind,
        {k: stacking.join({m: x[k] for m, x in outer.items()}) for k in folds},
        {k: stacking.known_without(k, inner) for k in folds},
        seed=0,
    )


@pytest.mark.parametrize("kind", ["oof", "weighted_average"])
def test_cross_validated_stacking_speaks_of_every_utterance_once(rng, kind):
    outer, inner = nested(rng)
    found, fitted = stacked(kind, outer, inner)
    assert len(found) == SPEAKERS * EACH
    assert sorted(fitted) == list(range(SPEAKERS))
    best = max(accuracy(Logits.concatenate(list(x.values()))) for x in outer.values())
    assert accuracy(found) > best


def test_the_fold_under_test_cannot_reach_its_stacker(rng):
    """Whatever the labels of fold 0 are, the stacker of fold 0 says the same of it."""
    outer, inner = nested(rng)
    want, _ = stacked("oof", outer, inner)

    def scrambled(found: Logits) -> Logits:
        wrong = np.where(found.fold == 0, (found.label + 1) % CLASSES, found.label)
        return dataclasses.replace(found, label=wrong)

    outer = {m: {k: scrambled(x) for k, x in f.items()} for m, f in outer.items()}
    inner = {m: {p: scrambled(x) for p, x in f.items()} for m, f in inner.items()}
    got, _ = stacked("oof", outer, inner)
    mine = want.fold == 0
    np.testing.assert_array_equal(got.logits[mine], want.logits[mine])
    assert not np.array_equal(got.logits[~mine], want.logits[~mine])
    known = {
        k: stacking.known_without((k + 1) % SPEAKERS, inner) for k in range(SPEAKERS)
    }
    with pytest.raises(ValueError, match="fold 0 must not learn from fold 0"):
        stacking.cross_validate("oof", {0: known[1]}, known, seed=0)


def test_noise_stays_at_chance_in_cross_validation(rng):
    """Out-of-fold logits without signal must not look better than chance."""
    outer, inner = nested(rng, skill=0.0)
    found, _ = stacked("oof", outer, inner)
    assert accuracy(found) == pytest.approx(1 / CLASSES, abs=0.1)


@pytest.mark.parametrize(
    ("among", "best"),
    [
        (combiners.CANDIDATES, "scaled_average"),
        (("oof", "best_member"), "best_member"),  # A forest hardly splits so few rows.
    ],
)
def test_the_best_of_the_candidates_out_of_fold_is_chosen(
    rng, monkeypatch, among, best
):
    monkeypatch.setattr(combiners, "CANDIDATES", among)
    joined = stacking.join({m: said(rng, skill=1.5, each=4) for m in "abc"})
    found = stacking.fit("chosen", joined, seed=0)
    assert (found.kind, found.chosen) == ("chosen", best)
    assert found.candidates is not None
    assert list(found.candidates) == list(among)
    alone = stacking.fit(best, joined, seed=0)
    assert found.held_out == found.candidates[best] == alone.held_out
    np.testing.assert_array_equal(
        stacking.apply(found, joined).logits, stacking.apply(alone, joined).logits
    )


def test_the_best_member_speaks_alone(rng):
    joined = stacking.join(
        {m: said(rng, skill=x) for m, x in (("a", 0.5), ("b", 2.0), ("c", 1.0))}
    )
    found = stacking.fit("best_member", joined, seed=0)
    (estimator,) = found.estimators
    np.testing.assert_array_equal(estimator.weight, [0, 1, 0])
    best = joined.logits[:, 1].argmax(axis=1)
    assert (stacking.apply(found, joined).logits.argmax(axis=1) == best).all()


def test_of_equals_the_one_that_learns_least_is_chosen(rng):
    """Of one member, its average and its best are the same."""
    joined = stacking.join({"a": said(rng, skill=9.0)})
    assert stacking.fit("chosen", joined, seed=0).chosen == "scaled_average"


def test_best_member_is_scored_by_who_is_best_elsewhere(rng):
    """Members that are right of one half of the speakers each are so found out.

    Whichever is best on the other speakers is the worse one here: what is best on all
    rows would look better than it is.
    """
    half = {m: said(rng, speakers=2, skill=0.0) for m in "ab"}
    for m, x in half.items():
        right = np.where(x.fold == "ab".index(m), 9.0, -9.0)
        x.logits[np.arange(len(x)), x.label] += right
    found = stacking.fit("best_member", stacking.join(half), seed=0)
    assert found.held_out["accuracy"] < 0.05


def test_the_fold_under_test_cannot_reach_the_choice(rng):
    """The choice without fold 0 is the same, whatever the labels of fold 0 are."""
    outer, inner = nested(rng)
    want, fitted = stacked("chosen", outer, inner)

    def scrambled(found: Logits) -> Logits:
        wrong = np.where(found.fold == 0, (found.label + 1) % CLASSES, found.label)
        return dataclasses.replace(found, label=wrong)

    outer = {m: {k: scrambled(x) for k, x in f.items()} for m, f in outer.items()}
    inner = {m: {p: scrambled(x) for p, x in f.items()} for m, f in inner.items()}
    got, again = stacked("chosen", outer, inner)
    assert again[0].candidates == fitted[0].candidates
    assert again[1].candidates != fitted[1].candidates
    mine = want.fold == 0
    np.testing.assert_array_equal(got.logits[mine], want.logits[mine])
