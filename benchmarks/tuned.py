"""An encoder that learns against one that is frozen, on speakers that neither heard.

    jser extract --table data/emodb --frontend waveform.trimmed
    jser extract --table data/emodb --frontend whisper_base@2-4.trimmed.pooled
    python -m benchmarks.tuned --test 03 08 15 --inner 10 13 --keep tuned.json \
        --frozen emodb_whisper_fusion emodb_whisper_lora "emodb_whisper_lora;epochs=5"

Candidates are configs, perhaps with fields of their own. Each is trained once without
the speakers under test and without the inner ones, and predicts these; the best by UAR
is chosen, the one named first where they are equal. It and the frozen recipe are then
trained without each speaker under test, by three seeds. The interval draws utterances,
all seeds of one together. `--keep` holds what is done, so that a run that was cut goes
on, here or on another machine.
"""

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from benchmarks import nested_choice
from jser import files
from jser.data.corpus import Corpus, open_corpus
from jser.roots import Roots
from jser.statistics import bootstrap, metrics
from jser.training import compilation, tuned

_SEEDS = 3


class Kept:
    """Trainings by config, folds held out and seed: logits by utterance, and cost."""

    def __init__(self, path: pathlib.Path, roots: Roots):
        """Goes on with the file, if there is one."""
        self._path, self._roots = path, roots
        self._made = json.loads(path.read_text()) if path.exists() else {}
        self._corpora: dict[str, Corpus] = {}

    def corpus(self, text: str) -> Corpus:
        """Of a config, in memory."""
        if text not in self._corpora:
            data = nested_choice.candidate(text).data
            opened = nested_choice.in_memory(open_corpus(self._roots, data))
            self._corpora[text] = opened
        return self._corpora[text]

    def __call__(self, text: str, holdout: tuple[int, ...], seed: int) -> dict:
        """One training's `logits`, wall and CPU seconds, and device."""
        config = nested_choice.candidate(text)
        digest = files.digest(repr(config.to_dict()))
        key = f"{text} {digest} without {holdout} seed {seed}"
        if key not in self._made:
            config = dataclasses.replace(config, seed=config.seed + seed)
            began = time.perf_counter(), time.process_time()
            start = self._started(text, holdout, seed)
            learns = bool(config.tune.encoder)
            encoder = tuned.open(config, self._roots.weights) if learns else None
            logits, _ = nested_choice.heldout_logits(
                *(config, self.corpus(text), holdout, encoder, start)
            )
            self._made[key] = {
                "logits": {u: x.astype(float).tolist() for u, x in logits.items()},
                "wall_s": round(time.perf_counter() - began[0], 1),
                "cpu_s": round(time.process_time() - began[1], 1),
                "device": jax.devices()[0].device_kind,
            }
            self._path.write_text(json.dumps(self._made))
            print(f"{key}: {self._made[key]['wall_s']} s", flush=True)
        return self._made[key]

    def _started(self, text: str, holdout: tuple[int, ...], seed: int) -> Any:
        """Variables of what a config starts with, trained anew; None if of nothing."""
        name = nested_choice.candidate(text).init_from
        if not name:
            return None
        start = nested_choice.candidate(name)
        start = dataclasses.replace(start, seed=start.seed + seed)
        return nested_choice.heldout_logits(start, self.corpus(name), holdout)[1]


@dataclasses.dataclass(frozen=True)
class Speakers:
    """The utterances of a table, by speaker."""

    label: dict[str, int]
    of: dict[str, list[str]]  # Speaker to utt_id.
    fold: dict[str, int]  # Speaker to fold.
    classes: int

    @classmethod
    def read(cls, corpus: Corpus) -> "Speakers":
        """Of all utterances, each speaker of whom is a fold."""
        rows = corpus.table.utterances
        number = {name: i for i, name in enumerate(corpus.table.labels)}
        of: dict[str, list[str]] = {}
        for u in rows:
            of.setdefault(u.speaker, []).append(u.utt_id)
        fold = {u.speaker: u.fold for u in rows if u.fold is not None}
        return cls({u.utt_id: number[u.emotion] for u in rows}, of, fold, len(number))

    def labels(self, ids: list[str]) -> np.ndarray:
        """Their true classes."""
        return np.array([self.label[u] for u in ids])


def chosen(names: list[str], inner: list[str], test: list[str], kept: Kept) -> str:
    """The candidate with the best UAR over the inner speakers."""
    table = Speakers.read(kept.corpus(names[0]))
    ids = [u for s in inner for u in table.of[s]]
    holdout = tuple(sorted(table.fold[s] for s in (*test, *inner)))
    best, most = names[0], -1.0
    for text in names:
        logits = kept(text, holdout, 0)["logits"]
        predicted = np.array([np.argmax(logits[u]) for u in ids])
        scores = metrics.scores(table.labels(ids), predicted, table.classes)
        print(f"| `{text}` | {scores['uar']:.3f} |", flush=True)
        if scores["uar"] > most:
            best, most = text, scores["uar"]
    return best


def compared(frozen: str, learned: str, test: list[str], kept: Kept) -> None:
    """Prints what both score on the speakers under test, and the difference."""
    table = Speakers.read(kept.corpus(frozen))
    predicted: dict[str, list[list[int]]] = {frozen: [], learned: []}
    ids = [u for s in test for u in table.of[s]]
    print("| speaker | recipe | UAR by seed | wall s | CPU s |\n|---|---|---|---|---|")
    for text, by_seed in predicted.items():
        by_seed += [[] for _ in range(_SEEDS)]
        for speaker in test:
            made = [kept(text, (table.fold[speaker],), k) for k in range(_SEEDS)]
            label, uar = table.labels(table.of[speaker]), []
            for row, one in zip(by_seed, made, strict=True):
                said = [int(np.argmax(one["logits"][u])) for u in table.of[speaker]]
                row += said
                scores = metrics.scores(label, np.array(said), table.classes)
                uar.append(f"{scores['uar']:.3f}")
            cost = [sum(one[k] for one in made) for k in ("wall_s", "cpu_s")]
            told = " | ".join(f"{x:.0f}" for x in cost)
            print(f"| {speaker} | `{text}` | {', '.join(uar)} | {told} |", flush=True)
    label = np.tile(table.labels(ids), _SEEDS)
    a, b = (np.concatenate(x) for x in predicted.values())
    for text, x in zip(predicted, (a, b), strict=True):
        uar = metrics.scores(label, x, table.classes)["uar"]
        print(f"| all | `{text}` | {uar:.3f} | | |")
    found = bootstrap.compare(
        label, a, b, table.classes, cluster=np.tile(np.array(ids), _SEEDS)
    )
    for score in ("uar", "macro_f1", "accuracy"):
        low, high = found[score].interval
        print(f"{score}: {found[score].difference:+.3f} [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    """Chooses, trains and compares."""
    parser = argparse.ArgumentParser(description="Learning against frozen encoders.")
    parser.add_argument("candidates", nargs="+")
    parser.add_argument("--frozen", default="", help="config; without, none is trained")
    parser.add_argument("--test", nargs="+", required=True, help="speakers")
    parser.add_argument("--inner", nargs="+", required=True, help="other speakers")
    parser.add_argument("--keep", type=pathlib.Path, required=True)
    parser.add_argument("--weights", default="", help="whisper_base=DIR")
    parser.add_argument("--data_root", type=pathlib.Path, default="data")
    parser.add_argument("--features_root", type=pathlib.Path, default="features")
    args = parser.parse_args()
    if both := set(args.test) & set(args.inner):
        parser.error(f"{', '.join(both)} cannot be under test and choose, too")
    compilation.enable_cache()
    weights = dict(w.split("=", 1) for w in args.weights.split(",") if w)
    roots = Roots(data=args.data_root, features=args.features_root, weights=weights)
    kept = Kept(args.keep, roots)
    print("| candidate | UAR on inner speakers |\n|---|---|")
    learned = chosen(args.candidates, args.inner, args.test, kept)
    print(f"chosen: `{learned}`", flush=True)
    table = Speakers.read(kept.corpus(learned))
    for speaker in args.test:
        for k in range(_SEEDS):
            kept(learned, (table.fold[speaker],), k)
    if args.frozen:
        compared(args.frozen, learned, args.test, kept)


if __name__ == "__main__":
    main()
