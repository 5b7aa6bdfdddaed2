"""Trials that look for fields; killed, failing, and several at a time."""

import json

import optuna
from optuna.trial import TrialState
import pytest

from jser import sweeping
from jser.corpora import prepare
from jser.features.extract import extract
from jser.roots import Roots
from jser.sweeping import Sweep
from tests.helpers import tiny_corpus

SPACE = "optim.lr=log:1e-4:1e-2,loss.kind=cross_entropy|focal"


def config_of_words(**data):
    config = tiny_corpus.experiment(text="char_ngrams")
    config.epochs = 1
    for field, value in data.items():
        setattr(config.data, field, value)
    return config


@pytest.fixture
def sweep(corpus, tmp_path) -> Sweep:
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    return Sweep.of(config_of_words(), SPACE, 3, roots)


@pytest.fixture
def scores(monkeypatch):
    """Trainings that take no time: by number of the trial, its score or an error."""
    by_number = {}

    def score(sweep, number, experiment):
        found = by_number.get(number, number / 10)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(sweeping, "_score", score)
    return by_number


def states(sweep: Sweep) -> list[TrialState]:
    return [t.state for t in sweep.study().trials]


def test_there_are_as_many_trials_as_asked_for(sweep, scores):
    told = [sweeping.one_trial(sweep) for _ in range(5)]
    assert told[0].startswith("trial 0: optim.lr=")
    assert told[2].endswith(": macro-F1 0.200")
    assert told[3:] == ["", ""]
    sweeping.write(sweep, sweep.study(), ["--config", "words"])
    found = json.loads((sweep.folder / "sweep.json").read_text())
    assert [t["number"] for t in found["trials"]] == [2, 1, 0]
    lr, kind = found["trials"][0]["fields"]
    assert found["command"] == (
        f"jser train --config words --config.{lr} --config.{kind}"
    )
    shown = (sweep.folder / "sweep.md").read_text()
    assert f"| 2 | 0.200 | `{lr}`<br>`{kind}` |" in shown
    assert "Scored on dev, which also chose each run's epoch" in shown


@pytest.mark.slow
def test_one_process_proposes_the_same_again(corpus, tmp_path, scores):
    def proposed(runs: str, seed: int = 7) -> list[dict]:
        roots = tiny_corpus.elsewhere(corpus, tmp_path / runs)
        config = config_of_words()
        config.seed = seed
        sweep = Sweep.of(config, SPACE, 12, roots)
        while sweeping.one_trial(sweep):
            pass
        return [t.params for t in sweep.study().trials]

    first = proposed("a")
    assert proposed("b") == first
    assert proposed("c", seed=8) != first
    assert len({p["optim.lr"] for p in first}) == 12


def test_a_failure_is_recorded_and_stops_nothing(sweep, scores):
    scores[1] = FloatingPointError("loss nan at step 3")
    told = [sweeping.one_trial(sweep) for _ in range(3)]
    assert told[1].endswith("failed, loss nan at step 3")
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert states(sweep) == [complete, fail, complete]
    assert sweeping.one_trial(sweep) == ""  # It counts as one of the three.
    sweeping.write(sweep, sweep.study(), [])
    found = json.loads((sweep.folder / "sweep.json").read_text())
    assert [t["number"] for t in found["trials"]] == [2, 0, 1]
    assert "Trial 1 failed: loss nan" in (sweep.folder / "sweep.md").read_text()


def test_without_a_score_it_says_so(sweep, scores):
    scores.update({k: FloatingPointError("nan") for k in range(3)})
    while sweeping.one_trial(sweep):
        pass
    with pytest.raises(ValueError, match=r"sweep.md: no trial has a score"):
        sweeping.write(sweep, sweep.study(), [])


def test_a_trial_whose_process_died_goes_on_under_its_number(sweep, scores):
    scores[1] = KeyboardInterrupt()
    sweeping.one_trial(sweep)
    with pytest.raises(KeyboardInterrupt):
        sweeping.one_trial(sweep)
    assert states(sweep) == [TrialState.COMPLETE, TrialState.RUNNING]
    params = sweep.study().trials[1].params
    assert len(params) == 2
    del scores[1]
    told = [sweeping.one_trial(sweep) for _ in range(3)]
    assert [t.partition(":")[0] for t in told] == ["trial 1", "trial 2", ""]
    assert states(sweep) == [TrialState.COMPLETE] * 3
    assert sweep.study().trials[1].params == params


def test_a_trial_that_is_alive_is_left_alone(sweep, scores):
    sweep.study().ask()
    with sweeping._alive(sweep, 0):
        assert sweeping.one_trial(sweep).startswith("trial 1:")
        assert states(sweep) == [TrialState.RUNNING, TrialState.COMPLETE]
    assert sweeping.one_trial(sweep).startswith("trial 0:")


def test_another_sweep_in_its_place_is_refused(sweep, corpus, scores):
    sweeping.one_trial(sweep)
    other = Sweep.of(config_of_words(), "epochs=1:2", 3, sweep.roots)
    with pytest.raises(
        ValueError, match=r"was another one, by its space. Give it anot"
    ):
        other.study()
    more = Sweep.of(config_of_words(), SPACE, 9, sweep.roots)
    assert len(more.study().trials) == 1


def test_one_that_was_stopped_before_it_trained_binds_nobody(sweep, scores):
    slip = Sweep.of(config_of_words(), "loss.kind=focal|crossentropy", 3, sweep.roots)
    slip.study().ask()
    assert sweeping.one_trial(sweep).startswith("trial 0:")
    assert states(sweep) == [TrialState.COMPLETE]


def test_fields_that_do_not_go_together_are_told(sweep, scores):
    space = "loss.kind=focal|kl,loss.vs_gamma=0.1|0.2"
    other = Sweep.of(config_of_words(), space, 1, sweep.roots)
    with pytest.raises(ValueError, match=r"--space: trial 0: loss.vs_gamma: .* a file"):
        sweeping.one_trial(other)


@pytest.fixture
def crossed(tmp_path) -> Roots:
    roots = Roots(data=tmp_path, features=tmp_path / "f", runs=tmp_path / "runs")
    source = tiny_corpus.make(tmp_path / "source")
    table = prepare.prepare("csv", source, tmp_path / "small", policy="loso")
    extract(table, "char_ngrams", roots.features, workers=1)
    return roots


CV = {"train_split": "cv", "dev_split": ""}


def test_folds_under_test_are_in_no_trial(crossed):
    config = config_of_words(**CV)
    sweep = Sweep.of(config, SPACE, 3, crossed, [3, 1])
    assert sweep.inner == (0, 2, 4)
    held = [run.experiment.data.holdout for run in sweep.runs(sweep.base)]
    assert held == [(0, 1, 3), (1, 2, 3), (1, 3, 4)]
    assert Sweep.of(config, SPACE, 3, crossed).inner == (0, 1, 2, 3, 4)
    config.data.holdout = (2,)
    assert Sweep.of(config, SPACE, 3, crossed).inner == (0, 1, 3, 4)
    with pytest.raises(ValueError, match=r"--holdout: 7: .*small has 0, 1, 2, 3, 4"):
        Sweep.of(config, SPACE, 3, crossed, [7])
    with pytest.raises(ValueError, match="--holdout: leaves 1 of the folds"):
        Sweep.of(config, SPACE, 3, crossed, [0, 1, 2, 3])


def test_the_score_is_of_the_inner_folds_alone(crossed, monkeypatch):
    scored = []

    def keep(label, predicted, classes):
        scored.append(len(label))
        return {"macro_f1": 0.5}

    monkeypatch.setattr(sweeping.metrics, "scores", keep)
    sweep = Sweep.of(config_of_words(**CV), SPACE, 1, crossed, [0, 1, 2])
    sweeping.one_trial(sweep)
    assert scored == [24]  # Twelve utterances in each of the folds 3 and 4.
    assert sorted(p.name for p in sweep.workdir(0).glob("holdout*")) == [
        "holdout_0_1_2_3",
        "holdout_0_1_2_4",
    ]
    sweeping.write(sweep, sweep.study(), ["--config", "words"])
    found = json.loads((sweep.folder / "sweep.json").read_text())
    assert "--config.data.holdout=0,1,2" in found["command"]
    assert "No trial saw or was scored on the folds 0, 1, 2" in found["notes"][0]


@pytest.mark.slow
def test_two_processes_share_a_sweep(sweep):
    folder = sweeping.run(sweep, jobs=2)
    found = json.loads((folder / "sweep.json").read_text())
    assert [t["state"] for t in found["trials"]] == ["complete"] * 3
    assert sorted(p.name for p in folder.glob("trial*")) == [
        *("trial000", "trial001", "trial002"),
    ]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("metrics.jsonl")}
    sweeping.run(sweep)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("metrics.jsonl")} == before
    storage = f"sqlite:///{folder / 'sweep.db'}"
    assert len(optuna.load_study(study_name="small", storage=storage).trials) == 3
