"""Runs that train in one step come out as they do alone."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from jser import pipeline
from jser.config import Experiment
from jser.data.corpus import open_corpus
from jser.data.members import MemberBatches
from jser.training import checkpoints, metrics_log, together, train
from jser.training.setup import TrainingSetup
from tests.helpers import asked, tiny_corpus

TOLERANCE = 1e-5


def member(name: str, **changes) -> Experiment:
    c = tiny_corpus.experiment()
    c.name, c.log_every = name, 2
    c.data.batch_size, c.data.shuffle_window = 6, 4
    for field, value in changes.items():
        section, _, option = field.rpartition("__")
        setattr(getattr(c, section) if section else c, option, value)
    return c.check()


def members() -> list[Experiment]:
    """Other seeds, folds, windows, rates, epochs; one of them with the neutral head."""
    return [
        member("whole", seed=1),
        member(
            "sml",
            seed=2,
            loss__neutral_weight=0.7,
            data__sampler="neutral_balanced",
            data__shuffle_window=1,
            data__holdout=(0,),
            optim__lr=2e-3,
        ),
        member("brief", seed=3, data__holdout=(1,), epochs=2, optim__warmup_steps=3),
    ]


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("alone"))
    for c in members():
        train.train(c, roots)
    return roots


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("together"))
    together.train_together(members(), roots)
    return roots


def kept(roots, c) -> dict[int, object]:
    """All checkpoints of a run, by step."""
    folder = roots.workdir(c) / "checkpoints"
    corpus = open_corpus(roots, c.data)
    like = TrainingSetup.of(c, corpus).fresh
    with checkpoints.Checkpoints(roots.workdir(c)) as saved:
        steps = sorted(int(p.name) for p in folder.iterdir())
        return {step: saved.load(step, like) for step in steps}


def lines(roots, c) -> list[dict]:
    found = metrics_log.read(roots.workdir(c) / "metrics.jsonl")
    return [{k: v for k, v in x.items() if not k.startswith("perf/")} for x in found]


def same(one, other, c, tolerance: float) -> None:
    """Checkpoints and metrics of a run in two places; all bits if `tolerance` is 0."""
    mine, theirs = kept(one, c), kept(other, c)
    assert list(mine) == list(theirs)

    def compare(path, a, b):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=name)

    jax.tree_util.tree_map_with_path(compare, mine, theirs)
    for a, b in zip(lines(one, c), lines(other, c), strict=True):
        assert a == pytest.approx(b, rel=0, abs=tolerance)


@pytest.mark.parametrize("k", range(3))
def test_together_is_as_alone(alone, trained, k):
    c = members()[k]
    same(trained, alone, c, TOLERANCE)
    assert len(lines(alone, c)) >= 2 * c.epochs


def test_together_batches_are_padded_otherwise(alone):
    """Else the test above could not tell that padding changes nothing."""
    setups = [TrainingSetup.of(c, open_corpus(alone, c.data)) for c in members()]
    sources = [t.source for t in setups]
    assert {s.steps_per_epoch for s in sources} == {4, 6}
    both = MemberBatches(sources)
    longer = []
    for tick in range(12):
        epoch, k = divmod(tick, 6)
        for row, s in enumerate(sources):
            own = s[epoch * s.steps_per_epoch + min(k, s.steps_per_epoch - 1)]
            found = jax.tree.map(lambda x, m=row: x[m], both[tick])
            np.testing.assert_array_equal(own.target, found.target)
            np.testing.assert_array_equal(own.weight, found.weight)
            T = own.streams["speech"].x.shape[1]
            x = found.streams["speech"].x
            np.testing.assert_array_equal(x[:, :T], own.streams["speech"].x)
            assert not np.asarray(found.streams["speech"].mask)[:, T:].any()
            assert x.dtype == np.float16
            longer.append(x.shape[1] > T)
    assert 3 <= sum(longer) < len(longer)


def test_a_frame_that_two_members_ask_for_is_read_once(alone, monkeypatch):
    c = tiny_corpus.experiment()
    opened = open_corpus(alone, c.data)
    source = TrainingSetup.of(c, opened).source
    asked = []
    for f in opened.streams.values():
        read = f.read
        monkeypatch.setattr(
            f,
            "read",
            lambda records, read=read: asked.append(len(records)) or read(records),
        )
    found = MemberBatches([source, source])[0]
    assert asked == [16, 16]
    for one, other in found.streams["speech"].x, found.target:
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [8, 12])
def test_a_cut_run_equals_an_uncut_one_bit_for_bit(trained, corpus, tmp_path, cut):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    together.train_together(members(), roots, stop_after=cut)
    together.train_together(members(), roots)
    for c in members():
        same(roots, trained, c, 0)


@pytest.mark.parametrize("step", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_runs_asked_to_end_save_and_resume_bit_for_bit(
    trained, corpus, tmp_path, monkeypatch, step
):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    with monkeypatch.context() as patched:
        asked.at_step(patched, step)
        together.train_together(members(), roots)
    for c in members():
        with checkpoints.Checkpoints(roots.workdir(c)) as saved:
            assert saved.latest_step() is not None
    together.train_together(members(), roots)
    for c in members():
        same(roots, trained, c, 0)


@pytest.mark.slow
def test_one_that_is_ahead_waits_for_the_others(trained, corpus, tmp_path):
    """As after a cut between two checkpoints of one epoch."""
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    together.train_together(members(), roots, stop_after=6)
    behind = roots.workdir(members()[1])
    shutil.copytree(behind, tmp_path / "behind")
    together.train_together(members(), roots, stop_after=12)
    shutil.rmtree(behind)
    shutil.move(tmp_path / "behind", behind)
    brief = members()[2]
    whole = [c for c in members() if c.name != brief.name]
    together.train_together(members(), roots)
    for c in whole:
        same(roots, trained, c, TOLERANCE)  # "brief" had ended; it padded the others.
    same(roots, trained, brief, 0)


@pytest.mark.slow
def test_cut_together_resumed_alone_and_the_reverse(alone, corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    first, second, third = members()
    train.train(first, roots, stop_after=7)
    together.train_together([first, second, third], roots, stop_after=8)
    train.train(second, roots)
    together.train_together([first, third], roots)
    for c in members():
        same(roots, alone, c, TOLERANCE)


def test_a_loss_that_is_not_finite_stops_its_run_alone(alone, corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    bad = member("bad", optim__lr=1e30)
    with pytest.raises(FloatingPointError, match=r"bad: step [2-9]: the loss is") as e:
        together.train_together([bad, *members()[:2]], roots)
    assert "whole" not in str(e.value)
    for c in members()[:2]:
        same(roots, alone, c, TOLERANCE)
    with checkpoints.Checkpoints(roots.workdir(bad)) as saved:
        assert saved.latest_step() is None


def test_dev_logits_that_are_not_finite_stop_their_run_alone(
    alone, corpus, tmp_path, monkeypatch
):
    roots, score = tiny_corpus.elsewhere(corpus, tmp_path), TrainingSetup.score

    def spoilt(setup, logits, dev, step):
        bad = setup.experiment.name == "bad" and step > 3
        return score(setup, logits * (np.nan if bad else 1), dev, step)

    monkeypatch.setattr(TrainingSetup, "score", spoilt)
    with pytest.raises(FloatingPointError, match=r"^bad without .*step 6: the logits"):
        together.train_together([member("bad"), *members()[:2]], roots)
    for c in members()[:2]:
        same(roots, alone, c, TOLERANCE)


def test_groups(corpus):
    found = [
        *members(),
        member("wide", model__hidden=16),
        member("focal", loss__kind="focal"),
        member("unmasked", model__mask_padding=False),
        member("also_unmasked", model__mask_padding=False),
    ]
    assert sorted(together.groups(found, corpus)) == [[0, 1, 2], [3], [4], [5], [6]]
    many = [member(f"seed{k}", seed=k) for k in range(together.AT_ONCE + 1)]
    sizes = [len(g) for g in together.groups(many, corpus)]
    assert max(sizes) <= together.AT_ONCE
    assert sum(sizes) == len(many)
    assert min(sizes) >= max(sizes) - 1
    other = tiny_corpus.experiment(speech="char_ngrams", text="char_ngrams")
    assert together.groups([tiny_corpus.experiment(), other], corpus) == [[0], [1]]


@pytest.mark.slow
def test_the_whole_road_together(corpus, tmp_path):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    runs = [
        pipeline.Run(dataclasses.replace(c, epochs=1), ("heldout",))
        for c in members()
        if c.data.holdout
    ]
    pipeline.train_all(runs, roots, 1, at_once=True)
    for r in runs:
        assert (roots.workdir(r.experiment) / "logits" / "heldout.npz").exists()
