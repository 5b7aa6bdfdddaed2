import dataclasses

from markupsafe import escape
import numpy as np
import pytest

from jser.config_rules import CHOSEN, STACKERS
from jser.ensemble.combiners import CANDIDATES
from jser.report import captions, markdown, page, results
from tests.helpers import simulated_systems


def of(**fields):
    """A system's scores on a split, as far as captions read them."""
    usual = {
        "utterances": 40,
        "speakers": 8,
        "interval_by_speaker": {"macro_f1": (0.4, 0.6)},
        "count": {"angry": 25.0, "sad": 15.0},
        "balanced_subsets": {"per_class": 15},
    }
    return usual | fields


def scored(**fields):
    usual = {
        "members": ["a", "b"],
        "headline": {"system": "oof", "split": "test"},
        "systems": {s: {"test": of()} for s in ("a", "b", "average", "oof")},
        "comparisons": [],
        "stacker": {"stacker": "oof", "members": ["a", "b"], "folds": {}},
    }
    return usual | fields


def test_every_stacker_has_words():
    assert set(captions.COMBINATIONS) == set(STACKERS)
    assert "macro-F1 out of fold" in captions.COMBINATIONS[CHOSEN]
    for kind in CANDIDATES:
        assert kind in captions.COMBINATIONS[CHOSEN]


def test_words_are_of_the_combinations_that_are_shown():
    assert list(captions.combinations(scored())) == ["average", "oof"]
    assert captions.out_of_fold(scored())
    plain = scored(systems={"a": {"test": of()}, "average": {"test": of()}})
    assert list(captions.combinations(plain)) == ["average"]
    assert captions.out_of_fold(plain) == ""
    # A member may bear the name of a stacker.
    named = scored(systems={"oof": {"test": of()}}, members=["oof"])
    assert captions.combinations(named) == {}
    systems = {s: {"test": of()} for s in ("a", "average", CHOSEN)}
    every = captions.combinations(scored(systems=systems))
    assert list(every) == ["average", CHOSEN, *CANDIDATES]


def compared(low: float, high: float, rival: str = "average", split: str = "test"):
    x = {"difference": (low + high) / 2, "interval": (low, high)}
    return {"split": split, "system": "oof", "rival": rival, "drawn": "speakers"} | {
        "scores": {"macro_f1": x}
    }


def test_another_system_is_better_where_the_interval_says_so():
    better = captions.better(
        scored(
            comparisons=[
                compared(-0.15, -0.05),
                compared(-0.15, 0.05),
                compared(0.05, 0.15),
                compared(-0.15, -0.05, split="dev"),
            ]
        )
    )
    assert better == [
        "average is better than oof on test: 0.100 in macro-F1, paired 95 % interval"
        " 0.050 to 0.150, drawn over speakers."
    ]
    (of_member,) = captions.better(scored(comparisons=[compared(-0.2, -0.1, "a")]))
    assert of_member.endswith(
        "picked as the best member on this very split, which favours it."
    )


def test_few_utterances_of_a_class_are_told():
    assert captions.cautions(scored()) == []
    count = {"angry": 10.0, "sad": 9.0, "odd": 0.0}
    (caution,) = captions.cautions(scored(systems={"oof": {"test": of(count=count)}}))
    assert caution.startswith("Few utterances: test has fewer than 10 of sad 9, odd 0.")


@pytest.mark.parametrize(
    ("speakers", "told"),
    [
        (4, "test has 4, fewer than 5"),
        (0, "those of test are not known"),
        (12, "those of test are not all known"),
    ],
)
def test_few_speakers_are_told(speakers, told):
    few = of(speakers=speakers, interval_by_speaker=None)
    (caution,) = captions.cautions(scored(systems={"oof": {"test": few}}))
    assert caution.startswith(f"Few speakers: {told}. Intervals are drawn over utter")
    assert captions.drawn_over(few) == "its 40 utterances"
    assert captions.drawn_over(of()) == "its 8 speakers"


def test_there_is_one_balanced_subset_where_all_classes_are_alike():
    assert not captions.is_one_subset(of())
    assert captions.is_one_subset(of(count={"angry": 15.0, "sad": 15.0, "odd": 0.0}))
    many = of(count={"angry": 300.0, "sad": 300.0}, balanced_subsets={"per_class": 200})
    assert not captions.is_one_subset(many)


def fold(chosen: str, *, macro_f1: float = 0.5, member: int = 0):
    shares = [[0.0, 0.0], [0.0, 0.0]]
    shares[member] = [0.5, 0.5]
    about = {"chosen": chosen, "importance": shares, "learned_from": "fedcba98"}
    scores = {s: macro_f1 for s in ("macro_f1", "uar", "accuracy")}
    return about | {"candidates": {kind: scores for kind in CANDIDATES}}


def stacker(**folds):
    about = {"stacker": CHOSEN, "members": ["a", "b"], "seed": 42, "folds": folds}
    return about | {"scikit-learn": "1.7.0", "importance": None}


def test_what_was_chosen_is_counted():
    assert captions.choice(scored()) == ""
    assert captions.choice(scored(stacker=None)) == ""
    assert captions.candidates(scored(stacker=None)) == []
    once = {"-1": fold("best_member", member=1)}
    assert captions.choice(scored(stacker=stacker(**once))) == "chosen: best_member (b)"
    folds = {str(k): fold("scaled_average", macro_f1=k / 10) for k in range(9)}
    folds["9"] = fold("best_member", macro_f1=0.9)
    found = scored(stacker=stacker(**folds))
    assert captions.choice(found) == (
        "chosen: scaled_average in 9 of 10 folds, best_member (a) in 1"
    )
    told = {c["name"]: c for c in captions.candidates(found)}
    assert [told[kind]["chosen"] for kind in CANDIDATES] == [9, 1, 0]
    assert told["oof"]["scores"]["uar"] == pytest.approx(0.45)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> dict:
    """Results of a choice that was bad: a member and the average are better."""
    inputs = simulated_systems.inputs(tmp_path_factory.mktemp("scored"))
    systems = {s: x for s, x in inputs.systems.items() if s != "forest"}
    rng = np.random.default_rng(0)
    systems[CHOSEN] = {
        s: simulated_systems.said(rng, s, skill=-3.0) for s in ("dev", "test")
    }
    once = stacker(**{"-1": fold("oof")})
    return results.score(dataclasses.replace(inputs, systems=systems, stacker=once))


def test_page_and_table_say_all_of_it(chosen):
    text = page.page(chosen, {})
    table = markdown.of(chosen)
    said = captions.better(chosen) + captions.cautions(chosen)
    assert len(said) == 4  # Two rivals, few utterances and few speakers.
    for sentence in (*said, "chosen: oof."):
        assert f"> {sentence}\n" in table
        assert f"{escape(sentence)}" in text
    for system in ("chosen", "oof", "scaled_average", "best_member", "average"):
        words = escape(captions.COMBINATIONS[system])
        assert f"<dt>{system}</dt><dd>{words}</dd>" in text
        assert f"* `{system}`: {captions.COMBINATIONS[system]}." in table
    assert captions.OUT_OF_FOLD in text
    assert captions.OUT_OF_FOLD in table
    assert "drawn over\nits 6 speakers." in text
    assert "Candidates out of fold" in text
    # What is meant to be used comes first, in the picture and in the table.
    assert text.index('class="row strong"') < text.index('class="row"')
    assert text.index('<tr class="best">') < text.index("<tr>\n<th")
