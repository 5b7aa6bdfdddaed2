"""Reports name the members, and the folds, of runs that have learned nothing."""

import json

import pytest

from jser import files
from jser.config import Ensemble
from jser.corpora import prepare, tables
from jser.ensemble import checkpoint_metrics
from jser.ensemble.combine import combine
from jser.ensemble.out_of_fold import holding_out, plan
from jser.report import page, results, subjects
from jser.roots import Roots
from tests.helpers import finished_runs, tiny_corpus

LOSS = "the training loss of the last epoch is no better than that of the best constant"


def ensemble(**data) -> Ensemble:
    members = []
    for name in ("one", "two"):
        member = tiny_corpus.experiment(text="char_ngrams")
        member.name = name
        for field, value in data.items():
            setattr(member.data, field, value)
        members.append(member)
    return Ensemble(name="both", members=tuple(members), stacker="average").check()


def finished(config: Ensemble, roots: Roots) -> None:
    table = tables.read(roots.data / "small")
    finished_runs.make(plan(config, table), table, roots)
    combine(config, roots)


@pytest.fixture
def crossed(corpus, tmp_path) -> tuple[Ensemble, Roots]:
    """An ensemble in cross-validation, of runs that tell no more than older ones."""
    roots = Roots(
        data=tmp_path / "data", features=corpus.features, runs=tmp_path / "runs"
    )
    source = tiny_corpus.make(tmp_path / "source")
    prepare.prepare("csv", source, roots.data / "small", policy="kfold", folds=3)
    config = ensemble(train_split=tables.CROSS_VALIDATED, dev_split="")
    finished(config, roots)
    return config, roots


def end_with(roots: Roots, config: Ensemble, k: int, loss: float) -> None:
    """The first member's run without fold `k` ends with that loss."""
    workdir = roots.workdir(holding_out(config.members[0], (k,)))
    line = {"step": 3, "train/loss": loss, "train/constant_loss": 1.1}
    files.write_atomically(workdir / "metrics.jsonl", json.dumps(line) + "\n")


def test_member_and_folds_are_named(crossed, tmp_path):
    config, roots = crossed
    assert not any(LOSS in n for n in subjects.of_ensemble(config, roots).notes)
    for k, loss in enumerate((1.11, 0.4, 1.1)):
        end_with(roots, config, k, loss)
    page.write(subjects.of_ensemble(config, roots), tmp_path)
    (note,) = [
        n for n in files.read_json(tmp_path / "results.json")["notes"] if LOSS in n
    ]
    assert note.startswith(f"one without fold 0, without fold 2: {LOSS}")
    assert "--config.data.standardize=text" in note
    assert note in (tmp_path / "results.md").read_text()
    assert (
        f"one without fold 0, without fold 2: {LOSS}"
        in (tmp_path / "report.html").read_text()
    )


def test_dev_predictions_of_one_class_are_noted(corpus, tmp_path):
    roots, config = tiny_corpus.elsewhere(corpus, tmp_path), ensemble()
    finished(config, roots)
    workdir = roots.workdir(config.members[1])
    scores = {"macro_f1": 0.2, "most_predicted": 1.0}
    metrics = checkpoint_metrics.made(workdir, 3, scores, "")
    path = workdir / "checkpoints" / "3" / "metrics" / "metrics"
    files.write_atomically(path, json.dumps(metrics))
    noted = results.score(subjects.of_ensemble(config, roots))["notes"]
    assert [n for n in noted if n.startswith("two: all dev predictions are of one cla")]
    assert not [n for n in noted if n.startswith("one: ")]
    alone = subjects.of_run(workdir, roots).notes
    assert any(n.startswith("two: all dev predictions are of one class") for n in alone)
