"""What levers are worth, on the protocol of the table."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sklearn import metrics

from jser import ablation, levers
from jser.ablation import Ablation, Protocol
from jser.commands import command_line
from jser.corpora import prepare, tables
from jser.ensemble.logits import Logits
from jser.features.extract import extract
from jser.roots import HELDOUT, Roots
from tests.helpers import finished_runs, tiny_corpus


def of(table, text="mixup; focal", seeds=(0, 1), config=None, **protocol) -> Ablation:
    config = config or tiny_corpus.experiment()
    chosen = Protocol.of(config, table, **protocol)
    return Ablation.of(config, table, text, seeds, chosen)


def crossed(tmp_path) -> tuple[Roots, tables.Table]:
    roots = Roots(data=tmp_path, features=tmp_path / "none", runs=tmp_path / "runs")
    source = tiny_corpus.make(tmp_path / "source")
    return roots, prepare.prepare("csv", source, tmp_path / "small", policy="loso")


def config_of_folds():
    config = tiny_corpus.experiment()
    config.data.train_split, config.data.dev_split = "cv", ""
    return config


def test_the_split_is_test_or_dev(corpus):
    table = tables.read(corpus.data / "small")
    config = tiny_corpus.experiment()
    assert Protocol.of(config, table) == Protocol("test", ())
    assert Protocol.of(config, table, "dev") == Protocol("dev", ())
    with pytest.raises(ValueError, match="--split: 'train' must be one that is not"):
        Protocol.of(config, table, "train")
    with pytest.raises(ValueError, match="--folds: of cross-validated tables"):
        Protocol.of(config, table, folds=[1])


def test_folds_are_all_or_some(tmp_path):
    _, table = crossed(tmp_path)
    config = config_of_folds()
    assert Protocol.of(config, table) == Protocol("cv", (0, 1, 2, 3, 4))
    some = Protocol.of(config, table, folds=[3, 1])
    assert [r.experiment.data.holdout for r in some.runs(config)] == [(1,), (3,)]
    assert all(r.splits == (HELDOUT,) for r in some.runs(config))
    with pytest.raises(ValueError, match=r"--folds: 9: .*small has 0, 1, 2, 3, 4"):
        Protocol.of(config, table, folds=[9])
    with pytest.raises(ValueError, match=r"--split: .*is cross-validated"):
        Protocol.of(config, table, "test")
    config.data.holdout = (1,)
    with pytest.raises(ValueError, match=r"data.holdout: \(1,\) must be empty"):
        Protocol.of(config, table)


def test_of_all_those_that_do_not_apply_are_skipped_with_the_reason(corpus):
    table = tables.read(corpus.data / "small")
    found = of(table, levers.ALL)
    assert "small tells no votes." in found.skipped["soft_labels"]
    assert {"mixup", "focal", "label_smoothing", "second_stage"} <= {*found.levers}
    assert {*found.levers} | {*found.skipped} == {lever.name for lever in levers.LEVERS}
    with pytest.raises(ValueError, match=r"--levers soft_labels: .* tells no votes"):
        of(table, "mixup; soft_labels")


def finished(ablated: Ablation, roots: Roots) -> None:
    every = [e for experiments in ablated.systems().values() for e in experiments]
    runs = [run for e in every for run in ablated.protocol.runs(e)]
    finished_runs.make(runs, ablated.table, roots)


def test_scores_are_of_what_the_runs_said_out_of_fold(tmp_path):
    roots, table = crossed(tmp_path)
    ablated = of(table, config=config_of_folds(), folds=[0, 2])
    finished(ablated, roots)
    found = ablation.score(ablated, roots)
    assert (found["utterances"], found["speakers"]) == (24, 2)
    assert found["drawn"] == "utterances"  # Two speakers are too few.

    def f1(run: str) -> float:
        said = [
            Logits.load(roots.runs / run / f"holdout_{k}" / "logits" / "heldout.npz")
            for k in (0, 2)
        ]
        label = np.concatenate([x.label for x in said])
        predicted = np.concatenate([x.logits.argmax(1) for x in said])
        return float(metrics.f1_score(label, predicted, average="macro"))

    by_seed = [f1(f"small+focal_seed{k}") - f1(f"small_seed{k}") for k in (0, 1)]
    focal = found["levers"][1]
    assert focal["name"] == "focal"
    assert focal["scores"]["macro_f1"]["by_seed"] == pytest.approx(by_seed)
    assert focal["scores"]["macro_f1"]["difference"] == pytest.approx(np.mean(by_seed))


def test_speakers_are_drawn_where_there_are_enough(tmp_path):
    roots, table = crossed(tmp_path)
    ablated = of(table, config=config_of_folds())
    finished(ablated, roots)
    found = ablation.score(ablated, roots)
    assert (found["drawn"], found["speakers"]) == ("speakers", 5)


def test_what_has_no_label_is_not_scored(tmp_path, monkeypatch):
    roots, table = crossed(tmp_path)
    ablated = of(table, config=config_of_folds())
    finished(ablated, roots)
    read = Protocol.read

    def undecided(*arguments) -> Logits:
        said = read(*arguments)
        label = np.where(said.utt_id == said.utt_id[0], -1, said.label)
        return dataclasses.replace(said, label=label)

    monkeypatch.setattr(Protocol, "read", undecided)
    assert ablation.score(ablated, roots)["utterances"] == 59


def test_what_is_missing_is_named(tmp_path):
    roots, table = crossed(tmp_path)
    ablated = of(table, config=config_of_folds())
    finished(ablated, roots)
    path = roots.runs / "small+mixup_seed1" / "holdout_3" / "logits" / "heldout.npz"
    path.unlink()
    with pytest.raises(FileNotFoundError, match="mixup_seed1/holdout_3"):
        ablation.score(ablated, roots)


CONFIG = """
from tests.helpers import tiny_corpus

def get_config():
    config = tiny_corpus.experiment(text="char_ngrams")
    config.epochs = 1
    return config
"""


@pytest.mark.slow
def test_the_whole_ablation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jser.console.quiet", lambda: None)
    source = tiny_corpus.make(tmp_path / "source")
    table = prepare.prepare("csv", source, tmp_path / "data" / "small")
    extract(table, "char_ngrams", tmp_path / "features", workers=1)
    (tmp_path / "mine.py").write_text(CONFIG)
    two = "two: init_from=base, optim.lr=*0.1"
    given = ["--config", "./mine.py", "--levers", f"mixup; {two}", "--seeds", "0,1"]
    assert command_line.main(["ablate", *given, "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "| mixup | `augment.mixup=0.2` |" in shown
    home = tmp_path / "runs" / "small_ablation"
    found = json.loads((home / "ablation.json").read_text())
    assert [lever["name"] for lever in found["levers"]] == ["mixup", "two"]
    assert found["command"].startswith("jser ablate --config ./mine.py --levers 'mixup")
    began = json.loads((tmp_path / "runs/small+two_seed1/config.json").read_text())
    assert began["config"]["init_from"] == "small_seed1"
    tree = ET.fromstring((home / "ablation.svg").read_text())
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    names = [e.text for e in tree.iter() if e.get("class") == "name"]
    assert names == ["mixup", "two"]

    trained = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    assert len(trained) == 6
    assert command_line.main(["ablate", *given, "--together"]) == 0
    assert trained == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("metrics.jsonl")}
    again = json.loads((home / "ablation.json").read_text())
    assert again["levers"] == found["levers"]


@pytest.mark.slow
def test_runs_of_an_ablation_train_together(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    table = tables.read(corpus.data / "small")
    config = tiny_corpus.experiment(text="char_ngrams")
    config.epochs = 1
    ablated = of(table, "label_smoothing; second: init_from=base", config=config)
    folder = ablation.run(ablated, roots, at_once=True)
    found = json.loads((folder / "ablation.json").read_text())
    assert {*found["levers"][0]["scores"]} == {"macro_f1", "uar"}
