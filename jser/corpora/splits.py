"""Splits and folds in which no speaker is on both sides."""

from collections import Counter, defaultdict
from collections.abc import Sequence
import dataclasses

from absl import logging
import numpy as np

from jser.corpora import tables
from jser.corpora.utterances import Utterance

POLICIES = ("given", "speakers", "kfold", "loso", "utterances", "stratified")
_SHARES = {"train": 0.7, "dev": 0.15, "test": 0.15}


def assign(
    rows: Sequence[Utterance], policy: str, *, folds: int, seed: int
) -> list[Utterance]:
    """Sets `split` and `fold` of every row, as a pure function of the arguments.

    Args:
      rows: The utterances.
      policy: "given": splits, and folds if there are any, as they are; folds alone
        are the protocol, every row in the split "cv". "speakers":
        train, dev and test (70, 15 and 15 %), speaker-disjoint and alike in emotions.
        "kfold": `folds` parts, every row in the split "cv". "loso": the same, with one
        speaker a fold, in the order of their names. "utterances": train, dev and test
        without regard to speakers, for corpora that do not name them; scores flatter
        there. "stratified": `folds` parts in the same way, every row in the split "cv".
      folds: Number of folds. Under the policies with a train split, its rows get
        them too: the stacker needs out-of-fold logits of the training rows.
      seed: What the draw depends on.

    Raises:
      ValueError: if the policy asks for splits or speakers that are not given, or for
        more folds than there are speakers.
    """
    if policy not in POLICIES:
        raise ValueError(f"--split: {policy!r} is not one of {', '.join(POLICIES)}.")
    if policy != "given" and any(u.fold is not None for u in rows):
        logging.warning(
            "--split %s replaces the folds that the corpus gives; --split given keeps"
            " them.",
            policy,
        )
    if policy in ("kfold", "loso"):
        folds = len({u.speaker for u in rows}) if policy == "loso" else folds
        _need_speakers(rows, folds)
        names = sorted({u.speaker for u in rows})
        part = (
            {name: i for i, name in enumerate(names)}
            if policy == "loso"
            else _divide(rows, _speaker, [1 / folds] * folds, seed)
        )
        return _in_folds(rows, part, _speaker)
    if policy == "stratified":
        _need_utterances(rows, folds)
        part = _divide(rows, _utterance, [1 / folds] * folds, seed)
        return _in_folds(rows, part, _utterance)

    if policy == "given":
        rows = _cross_validated(rows)
        bare = [u for u in rows if not u.split]
        if bare:
            raise ValueError(
                f"--split given: {len(bare)} utterances have no split, e.g."
                f" {bare[0].utt_id!r}; use --split speakers, kfold or loso."
            )
        if any(u.fold is not None for u in rows):
            return list(rows)
    else:
        group = _speaker if policy == "speakers" else _utterance
        if policy == "speakers":
            _need_speakers(rows, len(_SHARES))
        part = _divide(rows, group, list(_SHARES.values()), seed)
        names = list(_SHARES)
        rows = [dataclasses.replace(u, split=names[part[group(u)]]) for u in rows]
    return _fold_train(rows, policy, folds, seed)


def _in_folds(
    rows: Sequence[Utterance], part: dict[str, int], group
) -> list[Utterance]:
    """The folds are the protocol."""
    cv = tables.CROSS_VALIDATED
    return [dataclasses.replace(u, split=cv, fold=part[group(u)]) for u in rows]


def _cross_validated(rows: Sequence[Utterance]) -> Sequence[Utterance]:
    """Where folds are given and no splits at all, the folds are the protocol."""
    folded = sum(u.fold is not None for u in rows)
    if not folded or any(u.split for u in rows):
        return rows
    if bare := [u.utt_id for u in rows if u.fold is None]:
        raise ValueError(
            f"--split given: {folded} utterances have a fold and no split, and"
            f" {len(bare)} have neither, e.g. {bare[0]!r}. Give each a fold, or add a"
            " column split."
        )
    return [dataclasses.replace(u, split=tables.CROSS_VALIDATED) for u in rows]


def _fold_train(
    rows: Sequence[Utterance], policy: str, folds: int, seed: int
) -> list[Utterance]:
    """Gives the train rows their folds; all others keep none.

    Utterances whose speaker is not known form one group, so that they never face
    each other across a fold.
    """
    group = _utterance if policy == "utterances" else _speaker
    train = [u for u in rows if u.split == "train"]
    count = min(folds, len({group(u) for u in train}))
    part = _divide(train, group, [1 / count] * count, seed) if count > 1 else {}
    return [
        dataclasses.replace(u, fold=part.get(group(u)) if u.split == "train" else None)
        for u in rows
    ]


def _speaker(u: Utterance) -> str:
    return u.speaker


def _utterance(u: Utterance) -> str:
    return u.utt_id


def _need_speakers(rows: Sequence[Utterance], parts: int) -> None:
    unknown = [u.utt_id for u in rows if not u.speaker]
    if unknown:
        raise ValueError(
            f"{len(unknown)} utterances have no speaker, e.g. {unknown[0]!r}, so no"
            " split can be kept speaker-disjoint. Add a speaker column, or accept"
            " flattered scores with --split utterances."
        )
    speakers = len({u.speaker for u in rows})
    if not 2 <= parts <= speakers:
        raise ValueError(f"{speakers} speakers cannot fill {parts} parts (at least 2).")


def _need_utterances(rows: Sequence[Utterance], parts: int) -> None:
    if not 2 <= parts <= len(rows):
        raise ValueError(
            f"{len(rows)} utterances cannot fill {parts} parts, 2 or more."
        )


def _divide(rows, group, shares: list[float], seed: int) -> dict[str, int]:
    """Assigns groups to parts so that each part gets its share of every emotion.

    Groups go one by one, large ones first (ties and all else by the seed's draw), to
    the part that then lies nearest to its share, summed over emotions relative to
    their frequency. A part that is still empty goes first.
    """
    emotions = {e: i for i, e in enumerate(sorted({u.emotion for u in rows}))}
    have = defaultdict(lambda: np.zeros(len(emotions)))
    for u in rows:
        have[group(u)][emotions[u.emotion]] += 1
    total = np.sum(list(have.values()), axis=0)
    names = sorted(have)
    draw = np.random.default_rng(seed).permutation(len(names))
    order = sorted((names[i] for i in draw), key=lambda g: -have[g].sum())

    want = np.array(shares)[:, None] * np.ones(len(emotions))
    got = np.zeros_like(want)
    part, sizes = {}, Counter()
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        gain = have[name] / total
        before, after = ((got - want) ** 2).sum(1), ((got + gain - want) ** 2).sum(1)
        cost = after - before
        empty = [i for i in range(len(shares)) if not sizes[i]]
        allowed = empty if len(empty) >= left else range(len(shares))
        best = min(allowed, key=lambda i: cost[i])
        part[name] = best
        got[best] += gain
        sizes[best] += 1
    return part
