"""What page and tables say of the numbers, in sentences. No JAX here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jser.config_rules import CHOSEN
from jser.ensemble.combiners import CANDIDATES

FEWEST_SPEAKERS = 5  # A bootstrap over fewer says nothing.
FEWEST_OF_CLASS = 10  # Utterances; below, a score is a matter of single ones.
OUT_OF_FOLD = "Out of fold: of speakers that the member who speaks was not trained on"
# What combines the members, by the name of the system.
COMBINATIONS = {
    "average": "the mean of the members' probabilities; nothing is fitted",
    "scaled_average": (
        "the mean of the members' probabilities, each member at the temperature that"
        " makes them right as often as they say, out of fold"
    ),
    "weighted_average": (
        "a mixture of the members' probabilities, each at its temperature; the weights"
        " are those that make the labels likeliest, out of fold"
    ),
    "best_member": "the member whose macro-F1 is best out of fold",
    "oof": (
        "random forests that read the members' log-probabilities and learned from those"
        " out of fold, as many of each emotion"
    ),
    "greedy": (
        "the mean of the members' probabilities, each at its temperature and as often"
        " as a greedy selection by macro-F1 took it, out of fold"
    ),
    "meta": (
        "linear classifiers of the members' probabilities and attributes, learned out"
        " of fold from all rows, then from as many of each emotion; their logits'"
        " mean"
    ),
    "logistic": "logistic regression over the members' log-probabilities, out of fold",
    "boosting": "gradient boosting over the members' log-probabilities, out of fold",
    "paper": (
        "random forests that learned, as published, from what the members say of"
        " utterances they were trained on"
    ),
    CHOSEN: (
        f"whichever of {', '.join(CANDIDATES[:-1])} and {CANDIDATES[-1]} has the best"
        " macro-F1 out of fold"
    ),
}
_LEARNED = frozenset(COMBINATIONS) - {"average", "paper"}


def combinations(results: Mapping[str, Any]) -> dict[str, str]:
    """What the systems are that combine members, those chosen among included."""
    shown = [s for s in results["systems"] if s not in results["members"]]
    if CHOSEN in shown:
        shown += CANDIDATES
    return {s: COMBINATIONS[s] for s in dict.fromkeys(shown) if s in COMBINATIONS}


def out_of_fold(results: Mapping[str, Any]) -> str:
    """What "out of fold" means, where one of `combinations` says it; else nothing."""
    return OUT_OF_FOLD if _LEARNED & {*combinations(results)} else ""


def choice(results: Mapping[str, Any]) -> str:
    """Which candidates "chosen" is, in how many folds; empty of other stackers."""
    stacker = results["stacker"] or {}
    if stacker.get("stacker") != CHOSEN:
        return ""
    every = [_candidate(x, stacker["members"]) for x in stacker["folds"].values()]
    counted = Counter(every).most_common()
    if len(every) == 1:
        return f"{CHOSEN}: {every[0]}"
    first, *others = [f"{name} in {n}" for name, n in counted]
    return f"{CHOSEN}: {', '.join([f'{first} of {len(every)} folds', *others])}"


def candidates(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What "chosen" chose among: `name`, mean `scores` over the folds, times `chosen`.

    The scores are those out of fold that it chose by; empty of other stackers.
    """
    stacker = results["stacker"] or {}
    if stacker.get("stacker") != CHOSEN:
        return []
    folds = list(stacker["folds"].values())
    return [
        {
            "name": name,
            "scores": {
                score: sum(x["candidates"][name][score] for x in folds) / len(folds)
                for score in folds[0]["candidates"][name]
            },
            "chosen": sum(x["chosen"] == name for x in folds),
        }
        for name in folds[0]["candidates"]
    ]


def _candidate(about: Mapping[str, Any], members: Sequence[str]) -> str:
    """What was chosen, and which member where it is one."""
    if about["chosen"] != "best_member":
        return about["chosen"]
    share = [sum(of_classes) for of_classes in about["importance"]]
    return f"best_member ({members[share.index(max(share))]})"


def drawn_over(of: Mapping[str, Any]) -> str:
    """What the intervals of a system's scores on a split are drawn over."""
    if of["interval_by_speaker"]:
        return f"its {of['speakers']} speakers"
    return f"its {of['utterances']} utterances"


def is_one_subset(of: Mapping[str, Any]) -> bool:
    """Whether there is one balanced subset alone, the split itself.

    So it is where all emotions that occur have as many utterances as a subset draws.
    """
    per_class = of["balanced_subsets"]["per_class"]
    return all(n in (0, per_class) for n in of["count"].values())


def better(results: Mapping[str, Any]) -> list[str]:
    """Systems better than the primary one, on the headline's split, by a paired test.

    Better is what a paired 95 % interval of macro-F1 says that leaves out 0.
    """
    return [
        f"{c['rival']} is better than {c['system']} on {c['split']}:"
        f" {-x['difference']:.3f} in macro-F1, paired 95 % interval"
        f" {-x['interval'][1]:.3f} to {-x['interval'][0]:.3f}, drawn over {c['drawn']}."
        + (_FAVOURED if c["rival"] in results["members"] else "")
        for c in results["comparisons"]
        for x in [c["scores"]["macro_f1"]]
        if c["split"] == results["headline"]["split"] and x["interval"][1] < 0
    ]


_FAVOURED = " It was picked as the best member on this very split, which favours it."


def cautions(results: Mapping[str, Any]) -> list[str]:
    """What is too little on a split to rest much on its scores."""
    system = results["headline"]["system"]
    return [
        caution
        for split, of in results["systems"][system].items()
        for caution in (*_few_of_a_class(split, of), *_few_speakers(split, of))
    ]


def _few_of_a_class(split: str, of: Mapping[str, Any]) -> Iterator[str]:
    few = {c: int(n) for c, n in of["count"].items() if n < FEWEST_OF_CLASS}
    if few:
        told = ", ".join(f"{label} {n}" for label, n in few.items())
        yield (
            f"Few utterances: {split} has fewer than {FEWEST_OF_CLASS} of {told}. Their"
            " scores, and with them macro-F1 and UAR, turn on single utterances."
        )


def _few_speakers(split: str, of: Mapping[str, Any]) -> Iterator[str]:
    if of["interval_by_speaker"]:
        return
    named = of["speakers"]
    if 0 < named < FEWEST_SPEAKERS:
        told = f"{split} has {named}, fewer than {FEWEST_SPEAKERS}"
    else:
        told = f"those of {split} are not {'all ' if named else ''}known"
    yield (
        f"Few speakers: {told}. Intervals are drawn over utterances, too narrow for"
        " what other voices would score."
    )
