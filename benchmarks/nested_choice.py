"""Chooses a recipe inside the training folds, fold by fold, and scores the choice.

    python -m benchmarks.nested_choice emodb_whisper_probe emodb_whisper_fusion ...

The rule, for each fold of the table in turn (on EMO-DB, a speaker):

1. Of the other folds three groups are made, every third in one. Each candidate is
   trained without a group, and predicts it; its score is the UAR over the three.
2. The two best are trained without each of the other folds in turn. The better by UAR
   over all of these is chosen, the one named first where they are equal.
3. It is trained on all other folds by three seeds. The mean of their logits predicts
   the fold, once.

Nothing of a fold is used before it is predicted. What is pooled over the folds at the
end is the score of the rule, not of any one recipe. Candidates are configs, perhaps
with fields of their own ("emodb_whisper_probe;model.dropout=0.5"); tables and features
must be there. `--out FILE` keeps all scores as JSON.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
import copy
import dataclasses
import functools
import json
import pathlib
import time

import jax
import numpy as np

from jser import overrides, recipes
from jser.config import Experiment
from jser.data.corpus import Corpus, open_corpus
from jser.roots import HELDOUT, Roots
from jser.statistics import bootstrap, metrics
from jser.training import compilation
from jser.training.inference import logits_of, make_predict_step
from jser.training.setup import TrainingSetup
from jser.training.step import Variables, jitted_step
from jser.training.tuned import FROZEN, TunedEncoder

_GROUPS = 3
_FINALISTS = 2
_SEEDS = 3
Predict = Callable[[str, tuple[int, ...], int], dict[str, np.ndarray]]


def predictor(configs: dict[str, Experiment], roots: Roots) -> Predict:
    """`predict(name, holdout, seed)`: logits by utt_id of what was not trained on."""

    @functools.lru_cache
    def corpus_of(name: str):
        return in_memory(open_corpus(roots, configs[name].data))

    @functools.lru_cache(None)
    def predict(name: str, holdout: tuple[int, ...], seed: int):
        config = configs[name]
        config = dataclasses.replace(config, seed=config.seed + seed)
        return heldout_logits(config, corpus_of(name), holdout)[0]

    return predict


def in_memory(corpus: Corpus, layer: int | None = None) -> Corpus:
    """The same corpus, read once: hundreds of short trainings ask for its frames.

    Args:
      corpus: As it is opened.
      layer: The only one to keep, where streams have several.
    """
    streams = {}
    for s, features in corpus.streams.items():
        held, frames = copy.copy(features), features.read(range(len(features.utt_id)))
        if layer is not None:
            frames = [x[:, layer] for x in frames]
        held.read = functools.partial(_rows, frames)  # pyright: ignore
        streams[s] = held
    return dataclasses.replace(corpus, streams=streams)


def _rows(frames: list[np.ndarray], records: Sequence[int]) -> list[np.ndarray]:
    return [frames[int(r)] for r in records]


def heldout_logits(
    config: Experiment,
    corpus: Corpus,
    holdout: tuple[int, ...],
    encoder: TunedEncoder | None = None,
    start: Variables | None = None,
) -> tuple[dict[str, np.ndarray], Variables]:
    """Trains without some folds, leaves nothing on disk, and predicts these.

    Args:
      config: Of the training.
      corpus: In memory.
      holdout: The folds.
      encoder: That learns, if one does.
      start: Variables of another training to start with.

    Returns:
      Logits by utt_id, and the variables.
    """
    data = dataclasses.replace(config.data, holdout=holdout)
    config = dataclasses.replace(config, data=data)
    corpus = dataclasses.replace(corpus, config=data)
    setup = TrainingSetup.of(config, corpus, encoder, is_started=bool(start))
    setup = setup.started_with(start) if start else setup
    step, state = jitted_step(setup.step_config), setup.fresh
    hyperparameters = jax.device_put(setup.hyperparameters)
    for i in range(len(setup.source)):
        state, _ = step(state, setup.source[i], hyperparameters)
    held = corpus.split(HELDOUT)
    run = make_predict_step(setup.step_config.model)
    variables = state.variables
    if encoder:
        variables[FROZEN] = encoder.frozen
    logits = logits_of(run, variables, held, corpus)
    ids = (u.utt_id for u in held.utterances)
    return dict(zip(ids, logits, strict=True)), variables


def candidate(text: str) -> Experiment:
    """The config of an argument, with its fields set."""
    name, *fields = text.split(";")
    return overrides.apply(recipes.load(name), fields).check()


@dataclasses.dataclass(frozen=True)
class Truth:
    """Labels and folds by utt_id."""

    label: dict[str, int]
    fold: dict[str, int]
    classes: int

    def uar(self, logits: dict[str, np.ndarray], folds: Sequence[int]) -> float:
        """Of those of the folds."""
        ids = [u for u in logits if self.fold[u] in folds]
        label = np.array([self.label[u] for u in ids])
        predicted = np.array([logits[u].argmax() for u in ids])
        return metrics.scores(label, predicted, self.classes)["uar"]


def choose(
    names: Sequence[str],
    fold: int,
    folds: Sequence[int],
    predict: Predict,
    truth: Truth,
) -> dict:
    """The rule's first two steps for a fold: all inner scores, and what is chosen."""
    others = [f for f in folds if f != fold]
    groups = [tuple(others[i::_GROUPS]) for i in range(_GROUPS)]

    def score(name: str, parts: Sequence[tuple[int, ...]]) -> float:
        logits: dict[str, np.ndarray] = {}
        for part in parts:
            made = predict(name, tuple(sorted((fold, *part))), 0)
            logits |= {u: x for u, x in made.items() if truth.fold[u] in part}
        return truth.uar(logits, others)

    first = {name: score(name, groups) for name in names}
    best = sorted(names, key=lambda n: -first[n])[:_FINALISTS]
    singles = [(f,) for f in others]
    final = {name: score(name, singles) for name in sorted(best, key=names.index)}
    return {"fold": fold, "groups": first, "finalists": final} | {
        "chosen": max(final, key=lambda n: final[n])
    }


def main() -> None:
    """Follows the rule and prints what it chose and what that scores."""
    parser = argparse.ArgumentParser(description="Nested choice of a recipe.")
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--data_root", type=pathlib.Path, default="data")
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    compilation.enable_cache()
    roots = Roots(data=args.data_root, features=args.features_root)
    configs = {text: candidate(text) for text in args.configs}
    data = next(iter(configs.values())).data
    rows = open_corpus(roots, data).split(data.train_split)
    ids = [u.utt_id for u in rows.utterances]
    fold = {u.utt_id: u.fold for u in rows.utterances if u.fold is not None}
    classes = int(rows.label.max()) + 1
    truth = Truth(dict(zip(ids, rows.label.tolist(), strict=True)), fold, classes)
    predict, folds = predictor(configs, roots), sorted(set(fold.values()))
    rounds, outer, began = [], {}, time.monotonic()
    for f in folds:
        found = choose(args.configs, f, folds, predict, truth)
        of_seeds = [predict(found["chosen"], (f,), seed) for seed in range(_SEEDS)]
        outer |= {u: np.mean([x[u] for x in of_seeds], axis=0) for u in of_seeds[0]}
        rounds.append(found | {"uar": truth.uar(outer, [f])})
        print(json.dumps(rounds[-1]), f"{time.monotonic() - began:.0f} s", flush=True)
    _tell(rounds, outer, rows, truth)
    if args.out:
        args.out.write_text(json.dumps(rounds, indent=1) + "\n")


def _tell(rounds: list[dict], outer: dict, rows, truth: Truth) -> None:
    predicted = np.array([outer[u.utt_id].argmax() for u in rows.utterances])
    speaker = np.array([u.speaker for u in rows.utterances])
    scores = metrics.scores(rows.label, predicted, truth.classes)
    drawn = bootstrap.interval(rows.label, predicted, truth.classes, cluster=speaker)
    print("\n| candidate | mean inner UAR | chosen in folds |\n|---|---|---|")
    chosen = Counter(r["chosen"] for r in rounds)
    for name in rounds[0]["groups"]:
        inner = np.mean([r["groups"][name] for r in rounds])
        print(f"| {name} | {inner:.3f} | {chosen[name]} |")
    for name, value in scores.items():
        low, high = drawn[name]
        print(f"{name} of the rule: {value:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
