"""What is planted is found: raters of known skill and bias on the synthetic corpus.

`python -m tests.test_planted_truth HOME` prints the numbers behind the tests.
"""

import dataclasses
import pathlib
import sys

import numpy as np
import pytest
from scipy import special

from jser import recipes
from jser.config import Experiment
from jser.corpora import demo, prepare, tables
from jser.data import targets
from jser.ensemble.logits import Logits
from jser.features.extract import extract
from jser.roots import Roots
from jser.statistics import attributes, distributions, metrics
from jser.training import predict, train
from tests.helpers import rated_corpus

SEEDS = (0, 1, 2)
STREAMS = {
    "speech": "logmel.pooled",
    "prosody": "prosody.pooled",
    "text": "char_ngrams",
}
# Of the training utterances of an emotion; as uneven as MSP-Podcast's.
KEPT = {"happy": 0.6, "angry": 0.3, "sad": 0.3, "surprise": 0.2, "fear": 0.2}
KEPT |= {"contempt": 0.2, "disgust": 0.1}
RAREST = "disgust"


def experiment(name: str, seed: int, **sections: dict) -> Experiment:
    c = recipes.demo(f"{name}{seed}", **STREAMS)
    c.data.corpus, c.data.standardize = "rated", ("speech", "prosody")
    c.seed, c.epochs = seed, 10
    for section, fields in sections.items():
        for field, value in fields.items():
            setattr(getattr(c, section), field, value)
    return c.check()


def said(c: Experiment, roots: Roots) -> Logits:
    """What a run says of the speakers of the test split."""
    train.train(c, roots)
    return predict.predict(roots, roots.workdir(c), "test")


def corpora(home: pathlib.Path) -> tuple[Roots, Roots]:
    """The synthetic corpus as the raters have it; and unevenly."""
    base = Roots(data=home / "data", features=home / "features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "UTTERANCES_PER_EMOTION", 12)
        source = home / "audio"
        table = prepare.prepare("demo", source, base.data / "demo", policy="speakers")
    for front_end in STREAMS.values():
        extract(table, front_end, base.features)
    even = rated_corpus.prepared(base, "demo", home / "even")
    return even, rated_corpus.prepared(base, "demo", home / "uneven", kept=KEPT)


def divergence(logits: Logits, roots: Roots) -> float:
    """From the shares that the raters' skills and habits make on average."""
    table = tables.read(roots.data / "rated")
    truth = {u.utt_id: u.emotion for u in table.utterances}
    shares = [
        rated_corpus.truth(truth[u], table.labels) for u in logits.utt_id.tolist()
    ]
    p = special.softmax(logits.logits.astype(float), axis=1)
    return float(distributions.jensen_shannon(np.array(shares), p).mean())


def soft_and_hard(seed: int, roots: Roots) -> tuple[float, float]:
    soft = said(experiment("soft", seed, loss={"soft_labels": True}), roots)
    hard = said(experiment("hard", seed), roots)
    return divergence(soft, roots), divergence(hard, roots)


def concordances(seed: int, roots: Roots) -> list[float]:
    tasks = {"emotion": 0.5, "attributes": 1.0, "attribute_loss": "ccc"}
    logits = said(experiment("ccc", seed, tasks=tasks), roots)
    row = {u.utt_id: u for u in tables.read(roots.data / "rated").utterances}
    true = targets.attributes([row[u] for u in logits.utt_id.tolist()])
    pairs = zip(logits.attributes.T, true.T, strict=True)
    return [attributes.concordance(*pair) for pair in pairs]


def rarest_recalls(seed: int, roots: Roots) -> tuple[float, float]:
    """Of the first stage, unweighted, and of the second one."""
    first = experiment(
        "first", seed, loss={"soft_labels": True, "class_weights": False}
    )
    second = dataclasses.replace(
        first,
        name=f"second{seed}",
        init_from=first.name,
        data=dataclasses.replace(first.data, sampler="undersampled"),
        optim=dataclasses.replace(first.optim, lr=5e-4),
    )
    recalls = []
    for c in (first, second):
        logits = said(c, roots)
        predicted, classes = logits.logits.argmax(axis=1), len(logits.labels)
        counts = metrics.confusion(logits.label, predicted, classes)
        recalls.append(metrics.recall(counts)[logits.labels.tolist().index(RAREST)])
    return float(recalls[0]), float(recalls[1])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return corpora(tmp_path_factory.mktemp("planted"))


@pytest.mark.slow
def test_soft_targets_are_nearer_to_the_raters(planted):
    found = np.array([soft_and_hard(seed, planted[0]) for seed in SEEDS])
    soft, hard = found.T
    assert (soft < hard).all(), found
    assert (hard - soft).mean() > 0.02, found


@pytest.mark.slow
def test_attributes_are_found(planted):
    found = concordances(SEEDS[0], planted[0])
    assert min(found) > 0.5, found


@pytest.mark.slow
def test_a_second_stage_finds_more_of_the_rarest(planted):
    counts = tables.counts(tables.read(planted[1].data / "rated"))["train"]
    assert min(counts, key=lambda e: counts[e] if e in KEPT else 999) == RAREST
    found = np.array([rarest_recalls(seed, planted[1]) for seed in SEEDS])
    first, second = found.T
    assert (second >= first).all(), found
    assert (second - first).mean() > 0.1, found


def main() -> None:
    even, uneven = corpora(pathlib.Path(sys.argv[1]))
    print("| seed | divergence, soft | hard | CCC | recall, first stage | second |")
    print("|---|---|---|---|---|---|")
    for seed in SEEDS:
        soft, hard = soft_and_hard(seed, even)
        ccc = ", ".join(f"{x:.2f}" for x in concordances(seed, even))
        first, second = rarest_recalls(seed, uneven)
        told = f"{soft:.3f} | {hard:.3f} | {ccc} | {first:.2f} | {second:.2f}"
        print(f"| {seed} | {told} |", flush=True)


if __name__ == "__main__":
    main()
