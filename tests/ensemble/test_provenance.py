"""Everything swapped, relabelled, edited: each is refused, with its path."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from jser.config import Ensemble, Experiment
from jser.corpora import tables
from jser.ensemble.combine import combine
from jser.ensemble.logits import Logits
from jser.ensemble.out_of_fold import plan
from jser.report import comparison, subjects, submission
from jser.roots import Roots
from tests.helpers import finished_runs, tiny_corpus

KIND = "weighted_average"


def ensemble() -> Ensemble:
    members = []
    for name in ("one", "two"):
        member = tiny_corpus.experiment(text="char_ngrams")
        member.name = name
        members.append(member)
    return Ensemble(name="both", members=tuple(members), stacker=KIND).check()


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> Roots:
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("whole"))
    table = tables.read(roots.data / "small")
    finished_runs.make(plan(ensemble(), table), table, roots)
    combine(ensemble(), roots)
    return roots


@pytest.fixture
def roots(whole, tmp_path) -> Roots:
    """A copy to spoil."""
    for folder in ("data", "runs"):
        shutil.copytree(getattr(whole, folder), tmp_path / folder)
    return dataclasses.replace(whole, data=tmp_path / "data", runs=tmp_path / "runs")


def swap(runs: pathlib.Path, one: str, other: str) -> None:
    (runs / one).rename(runs / "aside")
    (runs / other).rename(runs / one)
    (runs / "aside").rename(runs / other)


def edit_logits(runs: pathlib.Path, pattern: str, **change) -> None:
    """Sets the first row of a column, or a whole one by `take`.

    The digest of all columns goes, which earlier versions did not keep: it would tell.
    """
    for path in sorted(runs.glob(pattern)):
        with np.load(path) as data:
            columns = {name: data[name] for name in data.files if name != "content"}
        rows = change.get("take", slice(None))
        for name in ("utt_id", "logits", "label", "fold", "speaker", "in_sample"):
            columns[name] = columns[name][rows]
            if name in change:
                columns[name][0] = change[name]
        columns["speaker_seen"] = columns["speaker_seen"][rows]
        if "labels" in change:
            columns["labels"] = columns["labels"][change["labels"]]
        np.savez(path, **columns)


def edit_json(path: pathlib.Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


CONFIG, METRICS = "one/config.json", "one/checkpoints/3/metrics/metrics"
HELD = "one/holdout_{}/logits/heldout.npz"
OF_MEMBERS = {
    "logits of another member": (
        lambda r: swap(r, "one/logits/test.npz", "two/logits/test.npz"),
        r"one/logits/test\.npz: of the run .*predict again",
    ),
    "logits of another split": (
        lambda r: swap(r, "one/logits/dev.npz", "one/logits/test.npz"),
        r"one/logits/(dev|test)\.npz: not the utterances",
    ),
    "logits of another fold": (
        lambda r: swap(r, HELD.format(0), HELD.format(1)),
        r"one/holdout_[01]/logits/heldout\.npz: of the run",
    ),
    "a run of another fold": (
        lambda r: swap(r, "one/holdout_0", "one/holdout_1"),
        r"one/holdout_[01]/config\.json: this run was another one: config\.data\.hold",
    ),
    "a run of another member": (
        lambda r: swap(r, "one", "two"),
        r"one/config\.json: this run was another one: config\.name",
    ),
    "checkpoints of another member": (
        lambda r: swap(r, "one/checkpoints", "two/checkpoints"),
        r"one/checkpoints/3/metrics/metrics: of the run .*train again",
    ),
    "a checkpoint as another step": (
        lambda r: (r / "one/checkpoints/3").rename(r / "one/checkpoints/6"),
        r"one/checkpoints/6/metrics/metrics: not the metrics of step 6",
    ),
    "a checkpoint's metrics edited": (
        lambda r: edit_json(r / METRICS, lambda m: m.update(macro_f1=0.9)),
        r"one/checkpoints/3/metrics/metrics: edited",
    ),
    "a checkpoint's metrics emptied": (
        lambda r: (r / METRICS).write_text(""),
        r"one/checkpoints/3/metrics/metrics: not valid JSON",
    ),
    "a checkpoint's metrics gone": (
        lambda r: (r / METRICS).unlink(),
        r"one/checkpoints/3/metrics/metrics: not the metrics of step 3",
    ),
    "a label in all members": (
        lambda r: edit_logits(r, "*/logits/dev.npz", label=2),
        r"one/logits/dev\.npz: label of 'd_angry_0' is 2, and by table .* 0",
    ),
    "a label that there is not": (
        lambda r: edit_logits(r, "one/logits/dev.npz", label=9),
        r"one/logits/dev\.npz: label of",
    ),
    "a fold": (
        lambda r: edit_logits(r, HELD.format(0), fold=2),
        r"heldout\.npz: fold of 'c_angry_0' is 2",
    ),
    "a speaker": (
        lambda r: edit_logits(r, "*/logits/dev.npz", speaker="e"),
        r"one/logits/dev\.npz: speaker of 'd_angry_0' is 'e'",
    ),
    "what was trained on": (
        lambda r: edit_logits(r, HELD.format(0), in_sample=True),
        r"heldout\.npz: in_sample of",
    ),
    "an utterance less in all members": (
        lambda r: edit_logits(r, "*/logits/dev.npz", take=slice(1, None)),
        r"one/logits/dev\.npz: not the utterances .* 1 are .*'d_angry_0'",
    ),
    "an utterance twice": (
        lambda r: edit_logits(r, "one/logits/dev.npz", take=[0, *range(12)]),
        r"one/logits/dev\.npz: utterances are in it twice",
    ),
    "another utterance": (
        lambda r: edit_logits(r, "one/logits/dev.npz", utt_id="a_sad_1"),
        r"one/logits/dev\.npz: not the utterances",
    ),
    "the order of the label set": (
        lambda r: edit_logits(r, "*/logits/dev.npz", labels=[1, 0, 2]),
        r"one/logits/dev\.npz: the labels are sad, angry, neutral",
    ),
    "a number that is not finite": (
        lambda r: edit_logits(r, "one/logits/dev.npz", logits=np.nan),
        r"one/logits/dev\.npz: the logits of 1 utterances, e\.g\. 'd_angry_0'",
    ),
    "mask_padding": (
        lambda r: edit_json(
            r / CONFIG, lambda c: c["config"]["model"].update(mask_padding=False)
        ),
        r"one/config\.json: this run was another one: config\.model\.mask_padding",
    ),
    "holdout": (
        lambda r: edit_json(
            r / CONFIG, lambda c: c["config"]["data"].update(holdout=[1])
        ),
        r"one/config\.json: this run was another one: config\.data\.holdout",
    ),
    "the table's fingerprint": (
        lambda r: edit_json(r / CONFIG, lambda c: c.update(table="another")),
        r"one: trained with table another",
    ),
    "no config": (
        lambda r: (r / CONFIG).write_text("{}"),
        r"one/config\.json: damaged \(lacks",
    ),
    "no section of a config": (
        lambda r: edit_json(r / CONFIG, lambda c: c["config"].pop("optim")),
        r"one/config\.json: damaged \(lacks",
    ),
    "what changes no number": (
        lambda r: edit_json(r / CONFIG, lambda c: c["config"].update(log_every=9)),
        r"one/logits/dev\.npz: of the run .*or config\.json was edited",
    ),
}
OF_COMBINED = {
    "logits of another system": (
        lambda r: swap(
            r, "both/logits/average/test.npz", f"both/logits/{KIND}/test.npz"
        ),
        r"both/logits/average/test\.npz: of the system 'weighted_average'",
    ),
    "logits of a member": (
        lambda r: shutil.copy(
            r / "one/logits/test.npz", r / "both/logits/average/test.npz"
        ),
        r"both/logits/average/test\.npz: not combined of",
    ),
    "logits of another split of a system": (
        lambda r: swap(
            r, "both/logits/average/dev.npz", "both/logits/average/test.npz"
        ),
        r"both/logits/average/(dev|test)\.npz: not the utterances",
    ),
    "a label in combined logits": (
        lambda r: edit_logits(r, "both/logits/*/dev.npz", label=1),
        r"both/logits/average/dev\.npz: label of 'd_angry_0' is 1",
    ),
    "what the stacker learned from": (
        lambda r: edit_json(
            r / "both/stack.json", lambda s: s["folds"]["-1"].update(learned_from="x")
        ),
        rf"both/logits/{KIND}/dev\.npz: not combined of .*jser stack again",
    ),
    "who taught the stacker": (
        lambda r: edit_json(
            r / "both/stack.json", lambda s: s["folds"]["-1"]["made_by"].pop()
        ),
        r"both/stack\.json: the stacker did not learn from what",
    ),
    "the stacker's seed": (
        lambda r: edit_json(r / "both/stack.json", lambda s: s.update(seed=1)),
        r"both/stack\.json: of another seed than 42",
    ),
    "the stacker's members": (
        lambda r: edit_json(r / "both/stack.json", lambda s: s["members"].reverse()),
        r"both/stack\.json: of another members than \['one', 'two'\]",
    ),
}


def test_what_is_whole_is_read(roots):
    known = subjects.of_ensemble(ensemble(), roots)
    assert list(known.systems) == ["one", "two", "average", KIND]
    assert all(known.curves.values())
    before = {p: Logits.load(p).logits for p in roots.runs.glob("both/logits/*/*.npz")}
    combine(ensemble(), roots)
    for path, logits in before.items():
        np.testing.assert_array_equal(Logits.load(path).logits, logits)


@pytest.mark.parametrize("what", OF_MEMBERS)
def test_a_member_that_was_changed_is_neither_stacked_nor_reported(roots, what):
    spoil, message = OF_MEMBERS[what]
    spoil(roots.runs)
    with pytest.raises(ValueError, match=message):
        combine(ensemble(), roots)
    if "fold" not in what and "heldout" not in message:  # The report reads those less.
        with pytest.raises(ValueError, match=message):
            subjects.of_ensemble(ensemble(), roots)


@pytest.mark.parametrize("what", OF_COMBINED)
def test_a_combination_that_was_changed_is_not_reported(roots, what):
    spoil, message = OF_COMBINED[what]
    spoil(roots.runs)
    with pytest.raises(ValueError, match=message):
        subjects.of_ensemble(ensemble(), roots)


def test_a_table_that_was_relabelled(roots):
    table = tables.read(roots.data / "small")
    first = dataclasses.replace(table.utterances[0], emotion="neutral")
    rows = (first, *table.utterances[1:])
    tables.write(dataclasses.replace(table, utterances=rows), roots.data / "small")
    for use in (combine, subjects.of_ensemble):
        with pytest.raises(ValueError, match=r"runs/one: trained with table"):
            use(ensemble(), roots)


def test_members_that_were_trained_again_are_stacked_again(roots):
    table = tables.read(roots.data / "small")
    runs = [
        dataclasses.replace(r, experiment=retrained(r.experiment))
        for r in plan(ensemble(), table)
    ]
    finished_runs.make(runs, table, roots, seed=1)
    config = ensemble()
    config.members = tuple(retrained(m) for m in config.members)
    with pytest.raises(ValueError, match=r"stack\.json: the stacker did not learn"):
        subjects.of_ensemble(config, roots)
    combine(config, roots)
    assert subjects.of_ensemble(config, roots).systems


def retrained(c: Experiment) -> Experiment:
    return dataclasses.replace(c, epochs=4)


def test_checkpoints_that_were_removed_are_not_needed(roots):
    shutil.rmtree(roots.runs / "one" / "checkpoints")
    shutil.rmtree(roots.runs / "one" / "holdout_0" / "checkpoints")
    combine(ensemble(), roots)
    assert not any("curves" in n for n in subjects.of_ensemble(ensemble(), roots).notes)


@pytest.mark.parametrize(
    "text", [None, "", '{"step": 3, "dev/macro_f1": 0.5}\n', "{\n"]
)
def test_curves_of_another_run_are_left_out_with_a_note(roots, text):
    path = roots.runs / "one" / "metrics.jsonl"
    path.unlink() if text is None else path.write_text(text)
    known = subjects.of_ensemble(ensemble(), roots)
    assert known.curves["one"] == []
    assert known.curves["two"]
    (note,) = [n for n in known.notes if "curves of one are left out" in n]
    assert str(path) in note
    alone = subjects.of_run(roots.runs / "one", roots)
    assert note in alone.notes


def test_files_by_themselves_are_compared_with_where_they_lie(roots):
    swap(roots.runs, "one/logits/test.npz", "two/logits/test.npz")
    average = roots.runs / "both" / "logits" / "average"
    with pytest.raises(ValueError, match=r"one/logits/test\.npz: of the run"):
        submission.read(roots.runs / "one" / "logits" / "test.npz")
    with pytest.raises(ValueError, match=r"one/logits/test\.npz: of the run"):
        comparison.of_files(roots.runs / "one", average, "test")
    with pytest.raises(ValueError, match=r"one/logits/test\.npz: of the run"):
        subjects.of_run(roots.runs / "one", roots)
    swap(roots.runs, "both/logits/average", f"both/logits/{KIND}")
    with pytest.raises(ValueError, match=r"test\.npz: of the system"):
        submission.read(average / "test.npz")
    alone = roots.runs / "test.npz"
    shutil.copy(roots.runs / "two" / "logits" / "test.npz", alone)
    assert len(submission.read(alone)) == 12
