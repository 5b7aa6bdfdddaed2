"""A run predicts, and is scored on, another table than its own."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import soundfile

from jser import files
from jser.config import Experiment
from jser.corpora import prepare, tables
from jser.ensemble import provenance
from jser.ensemble.logits import Logits
from jser.features.extract import extract
from jser.report import comparison, other_tables, page, results, subjects
from jser.roots import Roots
from jser.training import predict, train
from tests.helpers import tiny_corpus

MERGE = {"calm": "neutral"}
SPEAKERS = ("a", "p", "q", "r", "s")  # "a" is one of the run's speakers, too.


def experiment(**fields) -> Experiment:
    e = tiny_corpus.experiment(speech="logmel")
    e.epochs = 1
    for field, value in {"standardize": ("speech",), **fields}.items():
        setattr(e.data, field, value)
    return e.check()


def make(roots: Roots, name: str, *, copied: int = 1) -> tables.Table:
    """A table of tones, some emotions others than the run's, and its features.

    Args:
      roots: Where it lies.
      name: Of the table.
      copied: How many sounds the run was trained on.
    """
    sounds = roots.data.parent / f"{name}_sounds"
    sounds.mkdir()
    rows = [(s, e) for s in SPEAKERS for e in ("angry", "sad", "calm", "bored", "")]
    written = []
    for k, (speaker, emotion) in enumerate(rows):
        file = f"{name}_{speaker}_{emotion or 'unknown'}.wav"
        soundfile.write(sounds / file, tiny_corpus.tone(160 + 9 * k, 0.4), 16_000)
        written.append((file, emotion, speaker, "test"))
    own = tables.read(roots.data / "small")
    for u in own.select("train")[:copied]:
        shutil.copy(own.audio_path(u), sounds / f"copy_{u.utt_id}.wav")
        written.append((f"copy_{u.utt_id}.wav", u.emotion, "a", "test"))
    with (sounds / "all.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([("file", "emotion", "speaker", "split"), *written])
    table = prepare.prepare("csv", sounds / "all.csv", roots.data / name)
    extract(table, "logmel", roots.features, workers=1)
    return table


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> Roots:
    """Run "small", and tables: "other" shares a sound with its own, "far" none."""
    home = tmp_path_factory.mktemp("whole")
    for folder in ("data", "features"):
        shutil.copytree(getattr(corpus, folder), home / folder)
    own = tables.read(corpus.data / "small")
    shutil.copytree(own.folder / own.audio_root, home / "sounds")
    tables.write(
        dataclasses.replace(own, audio_root="../../sounds"), home / "data" / "small"
    )
    roots = Roots(**{n: home / n for n in ("data", "features", "runs")})
    make(roots, "other")
    make(roots, "far", copied=0)
    train.train(experiment(), roots)
    return roots


@pytest.fixture
def roots(whole, tmp_path) -> Roots:
    """The same before it was asked, to spoil."""
    ignore = shutil.ignore_patterns("logits")
    home = shutil.copytree(whole.data.parent, tmp_path / "home", ignore=ignore)
    return Roots(**{n: home / n for n in ("data", "features", "runs")})


def ask(roots: Roots, table: str = "other", split: str = "all", **given) -> Logits:
    given = {"merge": MERGE, **given}
    return predict.predict(
        roots, roots.runs / "small", split, table=roots.data / table, **given
    )


def test_it_is_predicted_under_the_runs_labels(whole):
    found = ask(whole)
    other = tables.read(whole.data / "other")
    assert found.labels.tolist() == ["angry", "sad", "neutral"]
    index = {"angry": 0, "sad": 1, "calm": 2, "bored": -1, "": -1}
    emotion = {u.utt_id: u.emotion for u in other.utterances}
    assert len(found) == len(emotion)
    assert found.label.tolist() == [index[emotion[u]] for u in found.utt_id]
    path = whole.runs / "small" / "logits" / "other" / "all.npz"
    assert Logits.load(path).table == "other"
    assert found.fingerprint == other.fingerprint
    own = tables.read(whole.data / "small")
    assert found.trained_on == f"small@{own.fingerprint}"
    assert (found.adapt, found.merged.tolist()) == ("none", ["calm=neutral"])


def test_sounds_are_known_by_digest_and_speakers_within_a_corpus(whole):
    found = ask(whole)
    (copy,) = found.utt_id[found.in_sample].tolist()
    assert copy.startswith("copy_")
    assert set(found.speaker[found.speaker_seen]) == {"a"}
    far = ask(whole, "far")
    assert not far.in_sample.any()
    assert "a" in far.speaker
    assert not far.speaker_seen.any()


def test_a_sound_is_heard_there_as_at_home(whole):
    found = ask(whole)
    own = predict.predict(whole, whole.runs / "small", "train")
    name = str(found.utt_id[found.in_sample][0]).removeprefix("copy_")
    np.testing.assert_allclose(
        found.logits[found.in_sample], own.logits[own.utt_id == name], atol=1e-5
    )


def test_what_was_said_is_not_computed_again_unless_it_is_asked_otherwise(roots):
    calls = []
    logits_of = predict.logits_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "logits_of", lambda *a: calls.append(a) or logits_of(*a))
        for given in ({}, {}, {"merge": {}}, {"merge": {}}, {"split": "test"}):
            ask(roots, **given)
    assert len(calls) == 3


def test_scores_are_among_the_emotions_that_both_have(roots, tmp_path):
    found = ask(roots, merge={})
    inputs = other_tables.of_run(roots.runs / "small", roots, roots.data / "other")
    scores = page.write(inputs, tmp_path)
    of = scores["systems"]["small"]["all"]
    rows = (found.label >= 0) & ~found.in_sample
    right = found.logits[rows][:, :2].argmax(axis=1) == found.label[rows]
    assert scores["labels"] == ["angry", "sad"]
    assert of["utterances"] == rows.sum() == 10
    assert of["uar"] == pytest.approx(right.mean())
    assert of["interval_by_speaker"]
    assert scores["corpus"]["fingerprint"] == found.fingerprint
    notes = " ".join(scores["notes"])
    for told in (
        "Trained on small@",
        "all: 10 of 26 utterances are scored, among angry, sad: by chance UAR is 0.500",
        "5 are left out, their labels are held back",
        "10 are left out, whose emotion is none of the run's: bored 5, calm 5.",
        "1 are left out, whose sound the run was trained on, e.g. 'copy_",
        "2 of those scored are by speakers whom the run was trained on",
        "neutral do not occur, and cannot be answered",
    ):
        assert told in notes
    assert "calm" in (tmp_path / "report.html").read_text()  # Among the counts.


def test_merged_emotions_are_scored_as_one(roots):
    ask(roots)
    inputs = other_tables.of_run(roots.runs / "small", roots, roots.data / "other")
    assert inputs.labels == ("angry", "sad", "neutral")
    assert "all: calm as neutral, as was asked." in inputs.notes
    assert any("--merge calm=neutral" in c for c in inputs.commands)
    ask(roots, split="test", merge={})
    with pytest.raises(ValueError, match="predicted with --merge '' and 'calm=neutral"):
        other_tables.of_run(roots.runs / "small", roots, roots.data / "other")


def test_the_targets_statistics(roots, tmp_path):
    """What is predicted by itself, brought to mean 0 before it is standardised."""
    plain, by_target = ask(roots), ask(roots, adapt="target")
    assert by_target.adapt == "target"
    assert np.abs(by_target.logits - plain.logits).max() > 1e-3
    folder = roots.runs / "small" / "logits" / "other"
    assert sorted(p.name for p in folder.iterdir()) == ["all+target.npz", "all.npz"]
    inputs = other_tables.of_run(
        roots.runs / "small", roots, roots.data / "other", "target"
    )
    scores = results.write(inputs, tmp_path)
    adapted = "small, target statistics (transductive)"
    assert list(scores["systems"]) == ["small", adapted]
    assert scores["headline"]["system"] == adapted
    assert [c["rival"] for c in scores["comparisons"]] == ["small"]
    assert adapted in (tmp_path / "results.md").read_text()
    assert any(n.startswith("Transductive: small") for n in scores["notes"])
    compared = comparison.of_files(folder / "all.npz", folder / "all+target.npz", "")
    assert compared["scores"] == scores["comparisons"][0]["scores"]
    # Without being asked, nothing of it is shown.
    alone = other_tables.of_run(roots.runs / "small", roots, roots.data / "other")
    assert list(alone.systems) == ["small"]


def test_the_targets_statistics_on_the_runs_own_table(roots):
    workdir = roots.runs / "small"
    for adapt in (None, "target"):
        predict.predict(roots, workdir, "test", adapt=adapt)
    found = subjects.of_run(workdir, roots, "target")
    assert [len(x["test"]) for x in found.systems.values()] == [12, 12]
    assert any("--adapt target --split test" in c for c in found.commands)
    assert list(subjects.of_run(workdir, roots).systems) == ["small"]


def test_what_cannot_be_asked(roots, tmp_path):
    workdir = roots.runs / "small"
    for given, message in (
        ({"table": "small"}, "small is the run's own. Leave --table out"),
        ({"table": "../away"}, "away does not lie in .*data_root"),
        ({"split": "heldout"}, "folds of the run's own table"),
        ({"split": "eval"}, "no split 'eval'; it has test"),
        (
            {"merge": {"joy": "angry"}},
            "'joy' is no emotion of .*other, which has angry",
        ),
        ({"merge": {"calm": "serene"}}, "'serene' is no emotion of the run, which has"),
        ({"adapt": "speaker"}, "Train it with --config.data.adapt=speaker"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(roots, **given)
    with pytest.raises(FileNotFoundError, match=r"jser prepare --out .*none"):
        ask(roots, "none")
    with pytest.raises(FileNotFoundError, match=r"jser predict .*--table .*far .*all"):
        other_tables.of_run(workdir, roots, roots.data / "far")
    ask(roots, "far", merge={"bored": "sad", "angry": "sad", "calm": "sad"})
    with pytest.raises(ValueError, match=r"nothing to score on far.*among sad: by"):
        other_tables.of_run(workdir, roots, roots.data / "far")


def test_a_run_that_standardises_nothing_has_no_statistics_to_exchange(whole, tmp_path):
    roots = tiny_corpus.elsewhere(whole, tmp_path)
    train.train(experiment(standardize=()), roots)
    with pytest.raises(
        ValueError, match=r"Train it with --config\.data\.standardize=s"
    ):
        ask(roots, adapt="target")


def test_features_by_another_front_end_are_refused(roots):
    made = files.read_json(roots.runs / "small" / "config.json")
    made["front_ends"]["speech"]["frames_per_s"] = 49.0
    files.write_json(roots.runs / "small" / "config.json", made)
    with pytest.raises(
        ValueError, match=r"made with frames_per_s=.*reads frames_per_s="
    ):
        ask(roots)


def test_logits_are_of_the_table_they_stand_for(roots):
    ask(roots)
    workdir, folder = roots.runs / "small", roots.runs / "small" / "logits"
    table = tables.read(roots.data / "other")
    shutil.copytree(folder / "other", folder / "far")
    far = tables.read(roots.data / "far")
    with pytest.raises(ValueError, match="made with the table 'other', but lies where"):
        provenance.of_other_table(workdir, "all", far, roots)
    shutil.copy(folder / "other" / "all.npz", folder / "other" / "all+target.npz")
    with pytest.raises(ValueError, match="made with --adapt 'none', but lies where"):
        provenance.of_other_table(workdir, "all", table, roots, "target")
    tables.write(
        dataclasses.replace(table, utterances=table.utterances[1:]), table.folder
    )
    with pytest.raises(ValueError, match=r"all\.npz: of table .*jser predict again"):
        other_tables.of_run(workdir, roots, table.folder)
    assert len(ask(roots)) == len(table.utterances) - 1
