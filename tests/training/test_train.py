import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jser.config import Augment, Experiment
from jser.corpora import tables
from jser.data.corpus import open_corpus
from jser.data.split import Split
from jser.statistics import metrics
from jser.training import checkpoints, compilation, metrics_log, predict, train
from jser.training.class_weights import class_weights
from jser.training.network import make_model
from jser.training.optimizer import make_optimizer
from jser.training.setup import TrainingSetup
from jser.training.step import init_state, make_loss_fn
from tests.helpers import asked, tiny_corpus
from tests.helpers.paths import ROOT
from tests.helpers.seeds import seeds

# First steps of `tiny_corpus.experiment()`; exact numbers belong to one XLA version, so
# the tolerance is wide enough for another and narrow enough for a mistake.
GOLDEN = {"train/loss": 1.1982231140, "train/grad_norm": 1.7268731594}
CHANGED = (
    "the first step of training changed. If you meant to change the numbers, say why in"
    " the commit and record the new ones here; a refactoring must not move them."
)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A run that was not cut, and its last state."""
    roots = tiny_corpus.elsewhere(corpus, tmp_path_factory.mktemp("runs"))
    return roots, train.train(tiny_corpus.experiment(), roots)


def lines(roots, experiment) -> list[dict]:
    """The metrics of a run, less how fast it was."""
    found = metrics_log.read(roots.workdir(experiment) / "metrics.jsonl")
    return [{k: v for k, v in x.items() if not k.startswith("perf/")} for x in found]


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_first_step(trained, experiment):
    first = lines(trained[0], experiment)[0]
    assert first["step"] == 1
    assert {k: first[k] for k in GOLDEN} == pytest.approx(GOLDEN, rel=1e-4), CHANGED


def test_speed_and_waiting_are_told(trained, experiment):
    path = trained[0].workdir(experiment) / "metrics.jsonl"
    found = [x for x in metrics_log.read(path) if "train/loss" in x]
    for x in found:
        assert x["perf/utterances_per_s"] > 0
        assert 0 <= x["perf/data_wait"] <= 1


def test_steps_are_compiled_once_a_padded_shape(corpus, tmp_path, experiment):
    """Another fold and another seed compile nothing; scores use the same lengths."""
    with compilation.counted() as first:
        train.train(experiment, tiny_corpus.elsewhere(corpus, tmp_path / "first"))
    experiment.seed, experiment.optim.lr = 8, 2e-3
    experiment.data.holdout, experiment.loss.class_weights = (1,), False
    with compilation.counted() as second:
        train.train(experiment, tiny_corpus.elsewhere(corpus, tmp_path / "second"))
    buckets = experiment.data.length_buckets
    for name in ("step", "predict_step"):
        assert (
            first.programs[f"jit({name})"] + second.programs[f"jit({name})"] <= buckets
        )
    assert second.programs["jit(step)"] <= 1  # A bucket the first run had not met.
    assert 0 <= second.from_cache <= second.programs.total()


@pytest.mark.full
def test_bfloat16_is_as_good_as_float32(corpus, tmp_path):
    """Dev scores of three seeds, after training long enough to learn."""
    found = {}
    precisions = ("float32", "bf16")  # A CPU knows no other.
    for precision in precisions:
        for seed in range(3):
            c = tiny_corpus.experiment()
            c.name, c.precision, c.seed = f"{precision}_{seed}", precision, seed
            c.epochs, c.optim.lr, c.log_every, c.data.length_buckets = 25, 1e-2, 50, 1
            roots = tiny_corpus.elsewhere(corpus, tmp_path)
            state = train.train(c.check(), roots)
            assert {x.dtype.name for x in jax.tree.leaves(state.params)} == {"float32"}
            last = [x for x in lines(roots, c) if "dev/loss" in x][-1]
            found[precision, seed] = last["dev/loss"], last["dev/uar"]
    full, half = (np.array([found[p, seed] for seed in range(3)]) for p in precisions)
    assert full[:, 1].min() > 0.6  # It has learned; chance is a third.
    noise = np.maximum(full.std(axis=0, ddof=1), 0.05)
    assert (abs(half.mean(axis=0) - full.mean(axis=0)) < 2 * noise).all()


def test_what_a_run_leaves(trained, experiment):
    roots, state = trained
    workdir = roots.workdir(experiment)
    assert int(state.step) == 9
    record = json.loads((workdir / "config.json").read_text())
    assert record["config"]["optim"]["lr"] == 1e-3
    assert Experiment.from_dict(record["config"]) == experiment
    found = lines(roots, experiment)
    steps = [x["step"] for x in found if "train/loss" in x]
    assert steps == list(range(1, 10))
    assert [x["step"] for x in found if "dev/uar" in x] == [3, 6, 9]
    assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
    with checkpoints.Checkpoints(workdir) as saved:
        scores = {x["step"]: x["dev/macro_f1"] for x in found if "dev/uar" in x}
        best = max(scores, key=lambda step: (scores[step], -step))
        assert (saved.latest_step(), saved.best_step()) == (9, best)
    kept = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())
    assert kept == sorted({9, best})


def test_dev_scores_are_over_all_dev_utterances(trained, experiment):
    roots, _ = trained
    workdir = roots.workdir(experiment)
    found = predict.predict(roots, workdir, "dev")
    assert len(found) == 12
    scores = metrics.scores(found.label, found.logits.argmax(1), 3)
    with checkpoints.Checkpoints(workdir) as saved:
        best = saved.best_step()
    (logged,) = [
        x for x in lines(roots, experiment) if x["step"] == best and "dev/macro_f1" in x
    ]
    for name, value in scores.items():
        assert logged[f"dev/{name}"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("cut", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uncut_one_bit_for_bit(
    trained, corpus, tmp_path, experiment, cut
):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    train.train(experiment, roots, stop_after=cut)
    state = train.train(experiment, roots)
    equal(state, trained[1])
    whole, resumed = (lines(r, experiment) for r in (trained[0], roots))
    assert whole == resumed


@pytest.mark.parametrize(
    "step", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))]
)
def test_a_run_asked_to_end_saves_and_resumes_bit_for_bit(
    trained, corpus, tmp_path, experiment, monkeypatch, step
):
    """Within the first epoch, at its end and later; a line covers steps 4 and 5."""
    experiment.log_every, experiment.checkpoint_every = 5, 2
    uncut, roots = (tiny_corpus.elsewhere(corpus, tmp_path / x) for x in "ab")
    train.train(experiment, uncut)
    workdir = roots.workdir(experiment)
    with monkeypatch.context() as patched:
        asked.at_step(patched, step)
        train.train(experiment, roots)
    with checkpoints.Checkpoints(workdir) as saved:
        assert saved.latest_step() == step
        assert saved.best_step() == min(step, 3)  # That of an epoch, once there is one.
    equal(train.train(experiment, roots), trained[1])
    assert lines(uncut, experiment) == lines(roots, experiment)
    for name in ("checkpoints", "logits"):
        for r in (uncut, roots):
            predict.predict(r, r.workdir(experiment), "dev")
        kept = [
            sorted(p.name for p in (r.workdir(experiment) / name).iterdir())
            for r in (uncut, roots)
        ]
        assert kept[0] == kept[1]


def test_a_second_training_is_refused(trained, experiment):
    workdir = trained[0].workdir(experiment)
    with (
        train.holding(workdir),
        pytest.raises(BlockingIOError, match="another run is at work there, process"),
    ):
        train.train(experiment, trained[0])


def test_a_finished_run_is_left_alone(trained, experiment):
    before = lines(trained[0], experiment)
    equal(train.train(experiment, trained[0]), trained[1])
    assert lines(trained[0], experiment) == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1, 50))
def test_a_run_killed_at_any_moment_resumes_bit_for_bit(
    trained, corpus, tmp_path, experiment, seed
):
    rng = random.Random(seed)
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    config = tmp_path / "small.py"
    config.write_text(
        "from tests.helpers import tiny_corpus\n"
        "def get_config(): return tiny_corpus.experiment()\n"
    )
    command = [sys.executable, str(ROOT / "scripts" / "train.py")]
    command += [f"--config={config}", f"--data_root={roots.data}"]
    command += [f"--features_root={roots.features}", f"--runs_root={roots.runs}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(4):
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(3, 12))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True)
    equal(train.train(experiment, roots), trained[1])
    assert lines(roots, experiment) == lines(trained[0], experiment)


def test_another_config_is_refused_with_both_values(trained, experiment):
    experiment.optim.lr = 2e-3
    with pytest.raises(ValueError, match=r"config\.optim\.lr was 0\.001, is 0\.002"):
        train.train(experiment, trained[0])


def test_harmless_changes_are_not_refused(trained, experiment):
    experiment.log_every, experiment.checkpoint_every = 2, 5
    equal(train.train(experiment, trained[0]), trained[1])


def test_a_loss_that_is_not_finite_stops_with_the_step(corpus, tmp_path, experiment):
    experiment.optim.lr = 1e30
    with pytest.raises(FloatingPointError, match=r"step [2-9]: the loss is"):
        train.train(experiment, tiny_corpus.elsewhere(corpus, tmp_path))


def test_votes_that_are_not_finite_are_named(corpus, tmp_path, experiment, monkeypatch):
    def target(split, labels):
        values = np.eye(len(labels), dtype=np.float32)[split.label]
        values[[u.utt_id for u in split.utterances].index("b_sad_1")] = np.nan
        return values

    monkeypatch.setattr(Split, "target", target)
    experiment.loss.class_weights = False
    with pytest.raises(FloatingPointError, match=r"finite: votes of 'b_sad_1'\.$"):
        train.train(experiment, tiny_corpus.elsewhere(corpus, tmp_path))


def test_dev_logits_that_are_not_finite_are_named(corpus, tmp_path, experiment):
    setup = TrainingSetup.of(experiment, open_corpus(corpus, experiment.data))
    logits = np.zeros((len(setup.dev), 3), np.float32)
    assert setup.score(logits, setup.dev, 3)["uar"] == pytest.approx(1 / 3)
    logits[4, 1] = np.nan
    name = setup.dev.utterances[4].utt_id
    with pytest.raises(FloatingPointError, match=f"small.*step 3: .*1 dev .*'{name}'"):
        setup.score(logits, setup.dev, 3)


def test_standardized_streams_are_scaled_by_the_frames_trained_on(
    corpus, tmp_path, experiment
):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    experiment.data.standardize, experiment.data.holdout = ("speech",), (1,)
    experiment.epochs = 1
    state = train.train(experiment, roots)
    split = open_corpus(roots, experiment.data).train()
    frames = np.concatenate(split.read(np.arange(len(split)))["speech"])
    frames = frames.astype(np.float32)
    found = state.standard["speech_input"]
    np.testing.assert_allclose(found["mean"], frames.mean(0), atol=1e-5)
    np.testing.assert_allclose(found["deviation"], frames.std(0), rtol=1e-4)
    assert set(state.standard) == {"speech_input"}
    assert len(predict.predict(roots, roots.workdir(experiment), "heldout")) == 12


def relabel(corpus, tmp_path, change):
    """The corpus with a changed table, its features as they are."""
    table = tables.read(corpus.data / "small")
    rows = tuple(change(u) for u in table.utterances)
    root = str(table.audio_path(rows[0]).parent)
    changed = dataclasses.replace(table, utterances=rows, audio_root=root)
    tables.write(changed, tmp_path / "data" / "small")
    return dataclasses.replace(corpus, data=tmp_path / "data", runs=tmp_path / "runs")


def test_a_class_without_training_utterances_is_refused(corpus, tmp_path, experiment):
    roots = relabel(
        corpus,
        tmp_path,
        lambda u: (
            dataclasses.replace(u, emotion="sad")
            if (u.split, u.emotion) == ("train", "angry")
            else u
        ),
    )
    with pytest.raises(ValueError, match=r"no utterance to train on of angry.*--keep"):
        train.train(experiment, roots)


def test_a_run_of_another_table_is_refused(trained, corpus, tmp_path, experiment):
    roots = relabel(corpus, tmp_path, lambda u: dataclasses.replace(u, votes="sad:1"))
    roots = dataclasses.replace(roots, runs=trained[0].runs)
    with pytest.raises(ValueError, match="table was"):
        train.train(experiment, roots)
    with pytest.raises(ValueError, match="trained with table"):
        predict.predict(roots, roots.workdir(experiment), "dev")


def test_folds_held_out_are_not_trained_on(corpus, tmp_path, experiment):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    experiment.data.holdout = (1,)
    opened = open_corpus(roots, experiment.data)
    trained_on = {u.utt_id for u in opened.train().utterances}
    held_out = opened.split("heldout").utterances
    assert {u.fold for u in held_out} == {1}
    assert not trained_on & {u.utt_id for u in held_out}
    assert {u.speaker for u in held_out}.isdisjoint(
        {u.speaker for u in opened.train().utterances}
    )
    experiment.data.holdout = (9,)
    with pytest.raises(ValueError, match="no fold 9"):
        train.train(experiment, roots)


@pytest.mark.slow
def test_augmented_training_is_deterministic(corpus, tmp_path, experiment):
    experiment.augment = Augment(
        speed=0.1, noise=0.1, time_masks=1, width_masks=1, mixup=0.3
    )
    experiment.epochs = 1
    states = [
        train.train(experiment, tiny_corpus.elsewhere(corpus, tmp_path / name))
        for name in ("a", "b")
    ]
    equal(*states)
    plain = tiny_corpus.experiment()
    plain.epochs = 1
    other = train.train(plain, tiny_corpus.elsewhere(corpus, tmp_path / "plain"))
    with pytest.raises(AssertionError):
        equal(states[0].params, other.params)


def test_class_weights(experiment):
    labels, counts = ("angry", "sad", "neutral"), [0, 0, 0, 1, 1, 2]
    emotions = np.eye(3, dtype=np.float32)[counts]
    got = class_weights(emotions, labels, experiment)
    np.testing.assert_allclose(got, [6 / 9, 6 / 6, 6 / 3])
    experiment.loss.weight_exponent = 0.5
    half = class_weights(emotions, labels, experiment)
    np.testing.assert_allclose(half, np.sqrt([6 / 9, 1, 2]), rtol=1e-6)
    experiment.loss.class_weights, experiment.loss.weight_exponent = False, 1.0
    np.testing.assert_allclose(class_weights(emotions, labels, experiment), 1)


def test_class_weights_of_soft_targets(experiment):
    emotions = np.array([[0.75, 0.25, 0], [0, 0.25, 0.75]], np.float32)
    got = class_weights(emotions, ("angry", "sad", "neutral"), experiment)
    np.testing.assert_allclose(got, [2 / 2.25, 2 / 1.5, 2 / 2.25], rtol=1e-6)


def test_a_filled_batch_has_the_loss_of_the_short_one(corpus, experiment):
    from jser.data import collation
    from jser.data.padding import LengthBuckets

    opened = open_corpus(corpus, experiment.data)
    split = opened.train()
    rows = np.arange(5)
    experiment.model.dropout = 0.0
    model = make_model(experiment, 3)
    weight = np.array([1.0, 2.0, 3.0], np.float32)
    loss_fn = make_loss_fn(model, experiment, weight, ("speech",))
    frames = split.read(rows)
    target = split.target(opened.table.labels)[rows]
    buckets = LengthBuckets.of({s: f.length for s, f in opened.streams.items()}, 1)
    short, filled = (collation.collate(frames, target, buckets, n) for n in (5, 8))
    tx = make_optimizer(experiment.optim, lambda step: 0.0)
    state = init_state(model, tx, short, jax.random.key(0))
    loss = jax.jit(lambda b: loss_fn(state.variables, b, jax.random.key(1))[0])
    assert float(loss(filled)) == pytest.approx(float(loss(short)), rel=1e-5)
