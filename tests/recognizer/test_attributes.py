"""Arousal, valence and dominance of a sound are what prediction and combination say."""

import dataclasses

import numpy as np
import pytest

from jser import audio
from jser.config import Ensemble, Experiment, Model, Tasks
from jser.corpora import tables
from jser.corpora.utterances import ATTRIBUTES
from jser.data import targets
from jser.ensemble import stacking
from jser.ensemble.logits import Logits
from jser.recognizer import answers, bundle, making
from jser.recognizer.network import calibrated
from jser.recognizer.recognition import Recognition
from jser.recognizer.recognizer import Recognizer
from jser.statistics.attributes import concordance
from jser.training import predict, train
from tests.helpers import rated_corpus, tiny_corpus

KINDS = {"pooling": 1.0, "probe": 0.0, "fusion": 0.4}  # Weight of the attributes.
RATE = ("pooling", "fusion")


def members() -> tuple[Experiment, ...]:
    made = []
    for kind, weight in KINDS.items():
        c = tiny_corpus.experiment(speech="logmel")
        c.name, c.data.corpus, c.data.standardize = kind, "rated", ("speech",)
        c.model = Model(kind=kind, dropout=0.0)
        if kind != "probe":
            c.model.hidden = 8
        c.tasks, c.optim.lr = Tasks(attributes=weight), 1e-2
        made.append(c.check())
    return tuple(made)


@pytest.fixture(scope="module")
def roots(corpus, tmp_path_factory):
    """Of three runs that have predicted."""
    made = rated_corpus.prepared(corpus, "small", tmp_path_factory.mktemp("rated"))
    for member in members():
        train.train(member, made)
        for split in ("dev", "test"):
            predict.predict(made, made.workdir(member), split)
    return made


@pytest.fixture(scope="module")
def averaged(roots) -> bundle.Bundle:
    ensemble = Ensemble(name="three", members=members(), stacker="average").check()
    return making.make(ensemble, roots, name="three")


@pytest.fixture(scope="module")
def stacked(roots, averaged) -> bundle.Bundle:
    """By a stacker that reads attributes."""
    both = {
        m: Logits.concatenate([x["dev"], x["test"]]) for m, x in said(roots).items()
    }
    stacker = stacking.fit("meta", stacking.join(both), 0)
    return dataclasses.replace(averaged, stacker=stacker)


@pytest.fixture(params=["averaged", "stacked"])
def model(request, tmp_path) -> bundle.Bundle:
    """As it is read."""
    request.getfixturevalue(request.param).save(tmp_path / "three")
    return bundle.load(tmp_path / "three")


def said(roots) -> dict[str, dict[str, Logits]]:
    """By member and split."""
    return {
        m.name: {
            s: Logits.load(roots.workdir(m) / "logits" / f"{s}.npz")
            for s in ("dev", "test")
        }
        for m in members()
    }


def paths(roots, split: str = "test"):
    table = tables.read(roots.data / "rated")
    rows = sorted(table.select(split), key=lambda u: u.utt_id)
    return [table.audio_path(u) for u in rows]


def row(answer) -> list[float]:
    return [answer.attributes[name] for name in ATTRIBUTES]


def test_answers_are_what_prediction_and_combination_say(roots, model):
    joined = stacking.join({m: x["test"] for m, x in said(roots).items()})
    combined = (
        stacking.apply(model.stacker, joined)
        if model.stacker
        else stacking.average(joined)
    )
    rates = [said(roots)[m]["test"].attributes for m in RATE]
    np.testing.assert_allclose(combined.attributes, np.mean(rates, axis=0), rtol=1e-6)
    p = calibrated(combined.logits, model.calibration.temperature)
    r, sounds = Recognizer(model), paths(roots)
    for found in ([r(x) for x in sounds], list(r.many(sounds[::-1]))[::-1]):
        got = np.array([row(answer) for answer in found])
        np.testing.assert_allclose(got, combined.attributes, atol=1e-5)
        got = [[answer.scores[name] for name in r.labels] for answer in found]
        np.testing.assert_allclose(got, p, atol=1e-5)
    samples = [audio.load(x) for x in sounds]
    np.testing.assert_allclose(r.probabilities(samples), p, atol=1e-5)


def test_the_stacker_reads_them(roots, stacked):
    """Other attributes, other probabilities."""
    assert stacked.stacker is not None
    assert stacked.stacker.attributes_of == stacked.attributes_of == RATE
    joined = stacking.join({m: x["test"] for m, x in said(roots).items()})
    other = {m: x + 1 for m, x in joined.attributes.items()}
    moved = dataclasses.replace(joined, attributes=other)
    one, two = (stacking.apply(stacked.stacker, x).logits for x in (joined, moved))
    assert np.abs(one - two).max() > 1e-3


def test_a_part_of_a_recording_has_those_of_the_sound_alone(roots, averaged):
    r, sound = Recognizer(averaged), paths(roots)[0]
    samples = audio.load(sound)
    end_s = len(samples) / audio.SAMPLE_RATE_HZ
    (part,) = r.timeline(sound, segments=[(0, end_s, "")])
    assert row(part) == pytest.approx(row(r(sound)), abs=1e-5)
    (whole,) = r.timeline(sound, window_s=60, hop_s=60)
    assert row(whole) == pytest.approx(row(r(sound)), abs=1e-5)
    (heard,) = r.stream([samples], window_s=end_s, hop_s=end_s)
    assert row(heard) == pytest.approx(row(r(sound)), abs=1e-5)


def test_a_person_is_known_by_emotions_alone(roots, averaged):
    r = Recognizer(averaged)
    r.enrol("e", paths(roots))
    answer = r(paths(roots)[0], profile="e")
    assert answer.label in {*r.labels, "unknown"}
    assert row(answer) != row(r(paths(roots)[0]))


def test_the_card_says_who_rates_and_how_well(roots, averaged):
    assert ", and predicts arousal, valence and dominance." in averaged.card
    assert "mean of what pooling, fusion say, on the scale of rated" in averaged.card
    by_id = {u.utt_id: u for u in tables.read(roots.data / "rated").utterances}
    mean = stacking.join({m: x["test"] for m, x in said(roots).items()}).first
    true = targets.attributes([by_id[u] for u in mean.utt_id.tolist()])
    want = concordance(mean.attributes[:, 1], true[:, 1])
    told = averaged.about["figures"]["test"]["attributes"]["valence"]["value"]
    assert told == pytest.approx(want, abs=1e-4)
    assert "with the raters, test: arousal" in averaged.card
    assert f"valence {told:.3f} [" in averaged.card


def test_a_model_without_attributes_says_nothing_of_them(roots):
    (probe,) = (m for m in members() if m.name == "probe")
    alone = Ensemble(name="one", members=(probe,), stacker="average").check()
    made = making.make(alone, roots, name="one")
    assert made.attributes_of == ()
    assert "arousal" not in made.card
    assert "attributes" not in made.about["figures"]["test"]
    answer = Recognizer(made)(paths(roots)[0])
    assert answer.attributes == {}
    assert "attributes" not in answer.to_dict()


def an_answer(name: str, **attributes: float) -> Recognition:
    return Recognition(
        **{"file": name, "label": "sad", "scores": {"sad": 0.75, "angry": 0.25}},
        **{"candidates": ("sad",), "coverage": 0.9, "duration_s": 1.5},
        embedding=np.zeros(2, np.float32),
        attributes=attributes,
    )


RATED = an_answer("a.wav", arousal=5.25, valence=2.04, dominance=4.0)


def test_as_a_table_a_line_and_a_row(capsys):
    answers.write([("a.wav", RATED)], 1, "text", None)
    line = "  arousal 5.2, valence 2.0, dominance 4.0"
    assert capsys.readouterr().out.splitlines()[-1] == line
    answers.write([("a.wav", RATED), ("b.wav", RATED)], 2, "text", None)
    assert capsys.readouterr().out.splitlines()[1].endswith(f" b.wav{line}")
    answers.write([("a.wav", RATED), ("b.wav", RATED)], 2, "csv", None)
    header, one, _ = capsys.readouterr().out.splitlines()
    assert header.endswith(",p_angry,p_sad,arousal,valence,dominance")
    assert one.endswith(",0.250000,0.750000,5.2500,2.0400,4.0000")
    answers.write([("a.wav", RATED)], 1, "json", None)
    assert '"attributes": {"arousal": 5.25, "valence": 2.04' in capsys.readouterr().out
