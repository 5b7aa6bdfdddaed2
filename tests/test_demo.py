"""The demo corpus, whose truth is known."""

import dataclasses

import numpy as np
import pytest

from jser import recipes
from jser.corpora import prepare
from jser.features.extract import extract
from jser.roots import Roots
from jser.statistics import metrics
from jser.training import predict, train


@pytest.mark.full
def test_two_streams_beat_each_alone(tmp_path):
    """Emotion is partly in the voice and partly in the words, by construction."""
    roots = Roots(
        data=tmp_path / "data", features=tmp_path / "features", runs=tmp_path / "runs"
    )
    table = prepare.prepare(
        "demo", tmp_path / "audio", roots.data / "demo", policy="speakers", folds=3
    )
    front_ends = {"speech": "functionals", "text": "char_ngrams"}
    for front_end in front_ends.values():
        extract(table, front_end, roots.features)

    def macro_f1(streams: tuple[str, ...], seed: int) -> float:
        name = f"{'_'.join(streams)}_{seed}"
        member = recipes.demo(name, **{s: front_ends[s] for s in streams})
        member = dataclasses.replace(member, seed=seed).check()
        train.train(member, roots)
        said = predict.predict(roots, roots.workdir(member), "test")
        predicted = said.logits.argmax(axis=1)
        return metrics.scores(said.label, predicted, len(said.labels))["macro_f1"]

    mean = lambda *streams: np.mean([macro_f1(streams, seed) for seed in range(3)])
    both, speech, text = mean("speech", "text"), mean("speech"), mean("text")
    assert speech > 0.2, f"speech {speech:.3f}: chance is 0.125"
    assert text > 0.2, f"text {text:.3f}: chance is 0.125"
    assert both > max(speech, text) + 0.05, f"{both:.3f}, {speech:.3f}, {text:.3f}"
