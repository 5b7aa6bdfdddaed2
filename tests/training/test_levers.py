"""The winners' levers: each by its equation, and runs that are cut in every mode."""

import dataclasses

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jser import recipes
from jser.config import Augment, Experiment, Loss, Tasks
from jser.data.corpus import open_corpus
from jser.statistics import attributes
from jser.training import losses, metrics_log, predict, train
from jser.training.checkpoints import Checkpoints
from jser.training.mixup import mixup
from jser.training.setup import TrainingSetup
from jser.training.step import attributes_of, make_loss_fn, task_loss
from tests.helpers import rated_corpus, tiny_corpus

LABELS = ("angry", "sad", "neutral")


def test_vs_loss_by_hand():
    """Shares .5, .25, .25: logits of the rare are divided by 2^gamma."""
    share = np.array([0.5, 0.25, 0.25], np.float32)
    got = losses.vector_scaled(
        np.array([[2.0, 1.0, -1.0]], np.float32), share, 2.0, 1.0
    )
    want = [2 + np.log(0.5), 1 / 4 + np.log(0.25), -1 / 4 + np.log(0.25)]
    np.testing.assert_allclose(got[0], want, rtol=1e-6)


def test_without_gamma_it_is_logit_adjustment(rng):
    logits, share = rng.standard_normal((4, 3)), np.array([0.7, 0.2, 0.1])
    got = losses.vector_scaled(logits, share, 0.0, 1.0)
    np.testing.assert_allclose(got, logits + np.log(share), rtol=1e-6)
    same = losses.vector_scaled(logits, share, 0.0, 0.0)
    np.testing.assert_allclose(same, logits, rtol=1e-6)


def test_concordance_over_a_batch_is_that_of_the_report(rng):
    a, b = rng.standard_normal(9), rng.standard_normal(9)
    weight = np.array([1.0] * 7 + [0.0] * 2)
    got = losses.concordance(a, b, weight)
    assert float(got) == pytest.approx(attributes.concordance(a[:7], b[:7]), abs=1e-6)
    one = np.eye(9)[0]
    assert float(losses.concordance(a, b, one)) == 0
    for w in (weight, one, np.zeros(9)):
        grad = jax.grad(lambda x, w=w: losses.concordance(x, b, w))(a)
        assert np.isfinite(grad).all()
    flat = jax.grad(lambda x: losses.concordance(x, jnp.ones(9), weight))(jnp.ones(9))
    assert np.isfinite(flat).all()


def test_binary_cross_entropy_is_torchs(rng):
    z, t = rng.standard_normal((4, 3)), rng.random((4, 3))
    want = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(z), torch.tensor(t), reduction="none"
    )
    np.testing.assert_allclose(losses.binary_cross_entropy(z, t), want, rtol=1e-5)


def test_what_is_not_known_does_not_count():
    target = np.array([[1.0, np.nan, 7.0], [np.nan, 4.0, np.nan], [7.0, 7.0, 7.0]])
    out = np.zeros((3, 3))  # 4 on the scale of 1 to 7.
    weight = np.array([1.0, 1.0, 0.0])
    given = Tasks(attributes=1.0), out, target, weight
    assert float(task_loss("attributes", *given)) == pytest.approx((9 + 9 + 0) / 3)
    grad = jax.grad(lambda x: task_loss("attributes", given[0], x, target, weight))(out)
    assert np.isfinite(grad).all()
    assert not np.asarray(grad)[2].any()
    assert not np.asarray(grad)[np.isnan(target)].any()
    np.testing.assert_allclose(attributes_of(np.array([-50.0, 0.0, 50.0])), [1, 4, 7])


def test_ccc_is_a_loss_of_attributes(rng):
    target, out = rng.uniform(1, 7, (8, 3)), rng.standard_normal((8, 3))
    c, weight = Tasks(attributes=1.0, attribute_loss="ccc"), np.ones(8)
    said = np.asarray(attributes_of(out))
    want = [attributes.concordance(said[:, k], target[:, k]) for k in range(3)]
    got = task_loss("attributes", c, out, target, weight)
    assert float(got) == pytest.approx(1 - np.mean(want), abs=1e-6)


def test_each_utterance_has_a_share_of_its_own():
    target, key = np.eye(16, dtype=np.float32), jax.random.key(3)
    mix, mixed = mixup(key, target, Augment(mixup=1.0, mixup_each=True))
    np.testing.assert_array_equal(mix(target), mixed)
    own = np.diag(np.asarray(mixed))
    assert len(set(own.round(4).tolist())) > 8
    np.testing.assert_allclose(np.asarray(mixed).sum(axis=1), 1, rtol=1e-6)
    _, batch = mixup(key, target, Augment(mixup=1.0))
    assert len(set(np.diag(np.asarray(batch)).round(4).tolist()) - {1.0}) == 1


def test_some_batches_are_not_mixed():
    target = np.eye(16, dtype=np.float32)
    target[0, 0] = np.nan  # Not known, and of nobody else's business.
    c = Augment(mixup=0.4, mixup_chance=0.3)
    same = [
        np.array_equal(mixup(jax.random.key(k), target, c)[1], target, equal_nan=True)
        for k in range(200)
    ]
    assert np.mean(same) == pytest.approx(0.7, abs=0.1)


def test_mean_over_utterances_is_another_norm(corpus, rng):
    """As PyTorch divides cross-entropy with class probabilities: by B."""
    c = tiny_corpus.experiment(speech="logmel")
    c.model.dropout, c.loss.per_utterance = 0.0, True
    opened = open_corpus(corpus, c.data)
    setup = TrainingSetup.of(c, opened)
    batch = setup.source[0]
    weight = np.array([0.5, 2.0, 3.0], np.float32)
    model = setup.step_config.model
    loss_fn = make_loss_fn(model, c, weight, ())
    variables = setup.fresh.variables
    got = loss_fn(variables, batch, jax.random.key(0))[1]["loss"]
    logits = model.apply(variables, batch.streams, train=False)["emotion"]
    want = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(logits)),
        torch.tensor(np.asarray(batch.target)),
        weight=torch.tensor(weight),
    )
    assert float(got) == pytest.approx(want.item(), rel=1e-5)


@pytest.fixture(scope="module")
def rated(corpus, tmp_path_factory):
    return rated_corpus.prepared(corpus, "small", tmp_path_factory.mktemp("rated"))


def a_run(**sections) -> Experiment:
    c = tiny_corpus.experiment()
    c.data.corpus, c.epochs = "rated", 2
    for section, fields in sections.items():
        for name, value in fields.items():
            setattr(getattr(c, section), name, value)
    return c.check()


SOFT = {"soft_labels": True}
MODES = {
    "votes": a_run(loss=SOFT, augment={"annotators": 0.3}),
    "mentions": a_run(loss=SOFT | {"mentions": True, "kind": "kl"}),
    "vs": a_run(loss={"kind": "vs", "weight_exponent": 0.5}),
    "mixed": a_run(augment={"mixup": 0.2, "mixup_chance": 0.5, "mixup_each": True}),
    "tasks": a_run(
        loss=SOFT | {"per_utterance": True},
        tasks={"emotion": 1.5, "attributes": 0.4, "secondary": 0.2, "gender": 0.1},
        augment={"mixup": 0.2, "mixup_each": True},
    ),
    "ccc": a_run(tasks={"attributes": 1.0, "attribute_loss": "ccc"}),
    "undersampled": a_run(loss=SOFT, data={"sampler": "undersampled"}),
    "deep": a_run(model={"kind": "deep"}, tasks={"attributes": 0.4}),
}
SLOW = ("mentions", "vs", "mixed", "ccc", "deep")  # Each compiles a step of its own.


@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=[pytest.mark.slow] * (m in SLOW)) for m in MODES]
)
def test_a_cut_run_is_the_same_bit_for_bit(rated, tmp_path, mode):
    c = dataclasses.replace(MODES[mode], name=mode)
    whole, cut = (tiny_corpus.elsewhere(rated, tmp_path / n) for n in ("a", "b"))
    once = train.train(c, whole)
    train.train(c, cut, stop_after=3)
    again = train.train(c, cut)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    found = metrics_log.read(whole.workdir(c) / "metrics.jsonl")
    assert all(np.isfinite(x["train/loss"]) for x in found if "train/loss" in x)
    logits = predict.predict(whole, whole.workdir(c), "test")
    expected = 3 if c.tasks.attributes else 0
    assert logits.attributes.shape == (len(logits), expected)
    if expected:
        assert ((logits.attributes > 1) & (logits.attributes < 7)).all()
        assert {"dev/ccc_arousal", "dev/ccc_dominance"} <= found[-1].keys() | {
            k for x in found for k in x
        }


def test_a_second_stage_begins_where_the_first_was_best(rated, tmp_path):
    roots = tiny_corpus.elsewhere(rated, tmp_path)
    first = dataclasses.replace(MODES["votes"], name="first")
    train.train(first, roots)
    second = a_run(
        loss=SOFT | {"class_weights": False}, data={"sampler": "undersampled"}
    )
    second = dataclasses.replace(second, name="second", init_from="first")
    second.optim.lr = second.optim.final_lr = 1e-12
    state = train.train(second, roots)
    with Checkpoints(roots.workdir(first)) as saved:
        begun = saved.load_variables(predict.best_step(saved))
    ends, starts = flatten_dict(state.params), flatten_dict(begun["params"])
    for name, x in starts.items():
        np.testing.assert_allclose(ends[name], x, atol=1e-8)
    count = [x for x in jax.tree.leaves(state.opt_state) if np.asarray(x).ndim == 0]
    assert int(count[0]) == int(state.step)  # The moments are its own.
    cut = dataclasses.replace(second, name="cut")
    train.train(cut, roots, stop_after=2)
    jax.tree.map(np.testing.assert_array_equal, train.train(cut, roots), state)


def test_levers_are_off_in_the_papers_twelve():
    levers = Loss(), Augment(), Tasks()
    for c in recipes.load_ensemble("ensemble_paper").members:
        # The paper's own soft-margin loss is none of them.
        loss = dataclasses.replace(c.loss, neutral_weight=0.0)
        assert (loss, c.augment, c.tasks) == levers
        assert (c.init_from, c.model.kind) == ("", "fusion")
        assert c.data.sampler in ("shuffle", "neutral_balanced")
