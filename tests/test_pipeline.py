import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest

from jser import pipeline
from jser.config import Ensemble
from jser.config_rules import STACKERS
from jser.corpora import prepare, tables
from jser.ensemble import combiners, stacker_store
from jser.ensemble.combine import combine
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import Run, plan
from jser.features.extract import extract
from jser.roots import Roots
from tests.helpers import finished_runs, tiny_corpus


def config(stacker: str = "oof", **data) -> Ensemble:
    members = []
    for name, streams in (
        ("both", {"speech": "logmel", "text": "char_ngrams"}),
        ("words", {"text": "char_ngrams"}),
    ):
        member = tiny_corpus.experiment(**streams)
        member.name, member.epochs = name, 1
        member.data = dataclasses.replace(member.data, **data)
        members.append(member)
    return Ensemble(name="small_ensemble", members=tuple(members), stacker=stacker)


CV = {"train_split": "cv", "dev_split": ""}


def test_plan_with_splits(corpus):
    table = tables.read(corpus.data / "small")
    runs = plan(config(), table)
    held_out = [(r.experiment.name, r.experiment.data.holdout, r.splits) for r in runs]
    assert held_out[:2] == [
        ("both", (), ("dev", "test")),
        ("words", (), ("dev", "test")),
    ]
    assert sorted(h for _, h, s in held_out if s == ("heldout",)) == sorted(
        [(k,) for k in range(3)] * 2
    )
    assert len(plan(config("average"), table)) == 2
    paper = plan(config("paper"), table)
    assert [r.splits for r in paper] == [("dev", "test", "train")] * 2
    learned = {*STACKERS} - {"average", "paper"}
    for kind in learned:
        assert plan(config(kind), table) == runs


def test_plan_of_cross_validation(corpus, tmp_path):
    table = prepare.prepare(
        "csv",
        tiny_corpus.make(tmp_path / "source"),
        tmp_path / "cv",
        policy="loso",
    )
    runs = plan(config(**CV), table)
    holdouts = [r.experiment.data.holdout for r in runs if r.experiment.name == "both"]
    singles = [(k,) for k in range(5)]
    assert holdouts == [*singles, *itertools.combinations(range(5), 2)]
    assert all(r.splits == ("heldout",) for r in runs)
    assert len(plan(config("average", **CV), table)) == 10
    paper = plan(config("paper", **CV), table)
    assert [r.splits for r in paper] == [("heldout", "cv")] * 10


def test_members_must_agree_on_the_corpus():
    found = config()
    found.members[0].data.corpus = "other"
    with pytest.raises(ValueError, match=r"members' data\.corpus.*the same in all"):
        found.check()


def test_unknown_stackers_are_refused():
    with pytest.raises(ValueError, match="stacker: 'forest' is not one of oof, paper"):
        config("forest").check()


@pytest.fixture
def few_trees(monkeypatch):
    for kind in ("paper", "oof"):
        monkeypatch.setitem(combiners.SETTINGS[kind], "n_estimators", 20)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(
    "kind", ["oof", "paper", "weighted_average", "average", "chosen"]
)
@pytest.mark.parametrize("policy", ["given", "loso"])
def test_what_each_stacker_leaves_on_disk(tmp_path, policy, kind):
    roots = Roots(data=tmp_path, features=tmp_path / "none", runs=tmp_path / "runs")
    source = tiny_corpus.make(tmp_path / "source")
    table = prepare.prepare("csv", source, tmp_path / "small", policy=policy)
    found = config(kind, **(CV if policy == "loso" else {}))
    runs = plan(found.check(), table)
    held_out = finished_runs.make(runs, table, roots)
    combine(found, roots)
    home = roots.runs / "small_ensemble"
    splits = ("cv",) if policy == "loso" else ("dev", "test")
    for split in splits:
        said = Logits.load(home / "logits" / kind / f"{split}.npz")
        assert said.utt_id.tolist() == sorted(u.utt_id for u in table.select(split))
        if "average" in kind:  # Forests hardly split so few rows.
            assert (said.logits.argmax(1) == said.label).mean() > 0.6
        assert (home / "predictions" / f"{split}.csv").exists()
        assert not said.speaker_seen.any()
    assert (home / "stack.json").exists() == (kind != "average")
    if kind == "average":
        return
    fitted = stacker_store.load(home)
    assert sorted(fitted) == (list(range(5)) if policy == "loso" else [-1])
    for k, stacker in fitted.items():
        # No run that was trained on fold k taught the stacker of fold k, but k's own.
        without = [m for m in stacker.made_by if k in held_out[m]]
        assert k == -1 or len(without) == len(stacker.made_by)
    # Fewer runs have spoken than a stacker needs: it says which file is not there.
    missing = (
        roots.workdir(runs[-1].experiment) / "logits" / f"{runs[-1].splits[-1]}.npz"
    )
    missing.unlink()
    with pytest.raises(FileNotFoundError, match=missing.name):
        combine(found, roots)


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_the_whole_road_with_splits(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    page = pipeline.run(config(), roots, jobs=2)
    home = tmp_path / "small_ensemble"
    assert page == home / "report.html"
    results = json.loads((home / "results.json").read_text())
    assert list(results["systems"]) == ["both", "words", "average", "oof"]
    with (home / "predictions" / "test.csv").open() as f:
        rows = list(csv.DictReader(f))
    table = tables.read(roots.data / "small")
    assert [r["utt_id"] for r in rows] == sorted(u.utt_id for u in table.select("test"))
    right = np.mean([r["label"] == r["predicted"] for r in rows])
    shown = results["systems"]["oof"]["test"]["accuracy"]
    assert right == pytest.approx(shown)
    for row in rows:
        p = [float(row[f"p_{e}"]) for e in tiny_corpus.EMOTIONS]
        assert sum(p) == pytest.approx(1, abs=1e-3)
    record = json.loads((home / "stack.json").read_text())
    assert record["members"] == ["both", "words"]
    assert len(record["made_by"]) == 6
    assert len(stacker_store.load(home)) == 1

    trained = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    pipeline.run(config(), roots, jobs=1)
    assert trained == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    assert json.loads((home / "results.json").read_text()) == results

    # Other stackers of the same members train nothing more.
    for kind in ("weighted_average", "logistic", "chosen", "paper"):
        pipeline.run(config(kind), roots, jobs=1)
        assert json.loads((home / "stack.json").read_text())["stacker"] == kind
        assert (home / "logits" / kind / "test.npz").exists()
    assert trained == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    learned = Logits.load(tmp_path / "both" / "logits" / "train.npz")
    assert learned.in_sample.all()
    assert learned.speaker_seen.all()


@pytest.mark.slow
@pytest.mark.usefixtures("few_trees")
def test_the_whole_road_in_cross_validation(tmp_path):
    roots = Roots(
        data=tmp_path / "data", features=tmp_path / "features", runs=tmp_path / "runs"
    )
    source = tiny_corpus.make(tmp_path / "source")
    table = prepare.prepare(
        "csv", source, roots.data / "small", policy="kfold", folds=3
    )
    pipeline.run(config(**CV), roots, jobs=2)
    home = roots.runs / "small_ensemble"
    for system in ("average", "oof"):
        found = Logits.load(home / "logits" / system / "cv.npz")
        assert len(found) == len(table.utterances)
        assert not found.in_sample.any()
    assert sorted(stacker_store.load(home)) == [0, 1, 2]
    text = (home / "report.html").read_text()
    assert "trained without its fold" in text
    # No model whose logits the stacker of fold k learned from had seen fold k.
    for i, j in itertools.combinations(range(3), 2):
        workdir = roots.runs / "both" / f"holdout_{i}_{j}"
        said = Logits.load(workdir / "logits" / "heldout.npz")
        assert set(said.fold) == {i, j}
        assert not said.in_sample.any()
        assert not said.speaker_seen.any()
    pipeline.run(config("paper", **CV), roots, jobs=2)
    assert sorted(stacker_store.load(home)) == [0, 1, 2]


@pytest.mark.slow
def test_failures_are_told_in_the_report(tmp_path):
    roots = Roots(
        data=tmp_path / "data", features=tmp_path / "features", runs=tmp_path / "runs"
    )
    source = tiny_corpus.make(tmp_path / "source")
    for name in ("a_angry_0", "e_angry_0"):  # Of train and of test.
        (source.parent / f"{name}.wav").write_bytes(b"no sound at all")
    table = prepare.prepare("csv", source, roots.data / "small")
    extract(table, "logmel", roots.features, max_failures=2)
    pipeline.run(config("logistic"), roots)
    results = json.loads((roots.runs / "small_ensemble" / "results.json").read_text())
    assert any("2 utterances are left out" in note for note in results["notes"])
    # The member that reads words alone knows them, and is scored like the others.
    assert {x["test"]["utterances"] for x in results["systems"].values()} == {11}


def test_runs_that_begin_with_each_other_are_refused_before_any_is_trained(corpus):
    a, b, c = (dataclasses.replace(tiny_corpus.experiment(), name=n) for n in "abc")
    a.init_from, b.init_from, c.init_from = "b", "a", "b"
    runs = [Run(e, ("dev",)) for e in (tiny_corpus.experiment(), c, a, b)]
    match = r"init_from: 'c' begins with 'b', which begins with 'a', which begins"
    with pytest.raises(ValueError, match=match):
        pipeline.train_all(runs, corpus, 1)
    assert not corpus.workdir(tiny_corpus.experiment()).exists()
