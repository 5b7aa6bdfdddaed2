"""An encoder that learns below a network, from sound in the shards to predictions."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser import recipes
from jser.config import Experiment, Model, Optim, Tune
from jser.corpora import tables
from jser.encoders import families, in_program, whisper
from jser.encoders.in_program import SoundEncoder
from jser.encoders.options import Options
from jser.features import frontends
from jser.features.extract import extract
from jser.training import optimizer, predict, train, tuned
from jser.training.network import make_model
from tests.helpers import tiny_checkpoints, tiny_corpus

pytest.importorskip("torch")
pytest.importorskip("transformers")

FAMILIES = ("wavlm", "hubert_base", "whisper")
SECONDS = (0.3, 1.7, 1.0, 0.9)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Checkpoint folders by name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in FAMILIES:
        tiny_checkpoints.make(name, folder / name)
    return folder


@pytest.fixture(scope="module")
def roots(corpus, home, tmp_path_factory):
    """The corpus of tones with its sound and frames of the tiny WavLM."""
    made = dataclasses.replace(
        corpus,
        features=tmp_path_factory.mktemp("features"),
        weights={"wavlm": home / "wavlm"},
    )
    table = tables.read(corpus.data / "small")
    for name in ("waveform", "char_ngrams", "wavlm@2-3.pooled"):
        weights = home / "wavlm" if "wavlm" in name else None
        front_end = frontends.open(name, weights=weights) if weights else name
        extract(table, front_end, made.features, workers=1)
    return made


def experiment(name="learns", encoder="wavlm", **streams: str) -> Experiment:
    made = tiny_corpus.experiment(speech="logmel")
    made.name, made.data.streams = name, {"speech": "waveform", **streams}
    made.data.longest_s, made.epochs = 0.6, 2
    made.model = Model(kind="pooling", hidden=8, dropout=0.2)
    made.optim = Optim(lr=1e-2, final_lr=1e-2, schedule="step")
    made.tune = Tune(encoder=encoder, rank=2)
    return made


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        (0.1 * rng.standard_normal(round(16_000 * s))).astype(np.float32)
        for s in SECONDS
    ]


def padded(of: list[np.ndarray], samples: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(x) for x in of])
    x = np.stack([np.pad(x, (0, samples - len(x))) for x in of])
    return x, np.arange(samples) < lengths[:, None]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layer", ["last", "1-2"])
def test_frames_within_a_program_are_extraction_s(home, name, layer):
    family = families.FAMILIES[name.removesuffix("_base")]
    context = "short" if name == "whisper" else "full"
    options = Options(layer=layer, context=context)
    _, module, variables = family.parts(home / name, options)
    want = family.load(home / name, options)(sounds())
    encoder = SoundEncoder(module)
    run = jax.jit(lambda x, real: encoder(apply(module, variables), x, real))
    frames, mask = run(*padded(sounds(), 33_000))
    for i, x in enumerate(want):
        assert mask[i].sum() == len(x)
        scale = np.abs(x).max()
        np.testing.assert_allclose(frames[i, : len(x)], x, atol=2e-5 * scale, rtol=0)


def apply(module, variables):
    return lambda *arguments: module.apply(variables, *arguments)


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_and_batch_mates_change_nothing(home, name):
    """In evaluation mode; the network upon it has tests of its own."""
    c = experiment(encoder=name.removesuffix("_base"))
    encoder = tuned.open(c, {name.removesuffix("_base"): home / name})
    assert encoder is not None
    network = make_model(c, 3, encoder.program)
    params = {tuned.ENCODER: encoder.learned}
    variables = {"params": params, tuned.FROZEN: encoder.frozen, "standard": {}}
    run = jax.jit(lambda x, real: network.frames(variables, x, real, train=False))
    one, short = sounds()[1], sounds()[0]
    alone, mask = run(*padded([one], 28_000))
    among, other = run(*padded([short, one, short], 50_000))
    n = int(mask.sum())
    assert n == other[1].sum()
    scale = np.abs(alone).max()
    np.testing.assert_allclose(alone[0, :n], among[1, :n], atol=2e-6 * scale, rtol=0)


def test_log_mel_of_a_batch_is_that_of_each():
    of = [*sounds(), np.zeros(8_000, np.float32)]
    x, _ = padded(of, 32_000)
    got = jax.jit(whisper.log_mel_of_batch, static_argnums=1)(x, 80)
    for row, sound in zip(got, of, strict=True):
        np.testing.assert_allclose(row, whisper.log_mel(sound, 80)[:200], atol=1e-4)
    rng = np.random.default_rng(1)
    whole = (0.1 * rng.standard_normal(whisper.WINDOW_SAMPLES)).astype(np.float32)
    (full,) = whisper.log_mel_of_batch(whole[None], 80)
    np.testing.assert_allclose(full, whisper.log_mel(whole, 80), atol=1e-4)


def test_pooled_is_what_is_stored(home):
    frames = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 3, 4)))
    mask = np.arange(7) < np.array([[7], [4]])
    made, real = in_program._pooled(frames, jnp.asarray(mask))
    assert made.shape == (2, 1, 3, 8)
    assert real.all()
    from jser.features import pooling

    np.testing.assert_allclose(
        made[1], pooling.pool(np.asarray(frames)[1, :4], "pooled"), atol=1e-6
    )


@pytest.fixture(scope="module")
def learned(roots, tmp_path_factory):
    """A run beside stored words, with everything on; not cut."""
    c = experiment(text="char_ngrams")
    c.model = Model(hidden=8, dropout=0.2)
    c.data.standardize = ("speech",)
    c.optim = dataclasses.replace(c.optim, accumulate=2, clip_norm=1.0, average=0.5)
    c.augment.crop_s, c.augment.speed, c.augment.background = 0.4, 0.1, 0.5
    c.augment.other_voice, c.tune.level = 0.5, "corpus"
    there = tiny_corpus.elsewhere(roots, tmp_path_factory.mktemp("runs"))
    return there, c.check(), train.train(c, there)


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_resumed_it_is_the_same_bit_for_bit(learned, tmp_path):
    roots, c, state = learned
    cut = tiny_corpus.elsewhere(roots, tmp_path)
    train.train(c, cut, stop_after=4)  # Amid an epoch, and amid a step of two batches.
    equal(train.train(c, cut), state)


@pytest.mark.slow
def test_what_learned_is_the_adapter_and_the_network(learned, home):
    roots, c, state = learned
    encoder = tuned.open(c, roots.weights)
    assert encoder is not None
    b = [x for p, x in _leaves(state.params[tuned.ENCODER]) if p.endswith("'b']")]
    assert b
    assert all(np.abs(x).max() > 0 for x in b)
    assert tuned.FROZEN not in state.variables
    held = {x.shape for p, x in _leaves(encoder.frozen) if "blocks" in p}
    assert len(held) > 3
    assert held.isdisjoint(x.shape for _, x in _leaves(state))


def _leaves(tree):
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path), np.asarray(x)) for path, x in found]


@pytest.mark.slow
def test_predictions_do_not_depend_on_batch_size(learned):
    roots, c, _ = learned
    said = []
    for size in (1, 12):
        path = roots.workdir(c) / "logits" / "test.npz"
        path.unlink(missing_ok=True)
        said.append(predict.predict(roots, roots.workdir(c), "test", batch_size=size))
    np.testing.assert_allclose(said[0].logits, said[1].logits, atol=1e-5)


@pytest.mark.slow
def test_another_encoder_is_refused(learned, tmp_path):
    roots, c, _ = learned
    tiny_checkpoints.make("wavlm", tmp_path / "other")
    path = tmp_path / "other" / "model.safetensors"
    from safetensors import numpy as safetensors

    tensors = {k: v + 1e-3 for k, v in safetensors.load_file(path).items()}
    safetensors.save_file(tensors, path)
    elsewhere = dataclasses.replace(roots, weights={"wavlm": tmp_path / "other"})
    (roots.workdir(c) / "logits" / "dev.npz").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"not the encoder that .* learned upon"):
        predict.predict(elsewhere, roots.workdir(c), "dev")


@pytest.mark.slow
def test_all_of_it_is_tuned_but_the_convolutions(roots, tmp_path):
    c = experiment("whole")
    c.tune, c.epochs = Tune(encoder="wavlm", how="full"), 1
    encoder = tuned.open(c.check(), roots.weights)
    assert encoder is not None
    assert set(encoder.frozen) == {"conv"}
    state = train.train(c, tiny_corpus.elsewhere(roots, tmp_path))
    changed = jax.tree.map(
        lambda x, y: bool((x != y).any()), encoder.learned, state.params[tuned.ENCODER]
    )
    names = [p for p, x in _leaves(changed) if not x]
    # A softmax does not feel what a key's bias adds to all of its scores.
    assert all("'key']['bias']" in p for p in names)


@pytest.mark.slow
def test_a_network_starts_from_stored_frames_of_its_encoder(roots, tmp_path):
    there = tiny_corpus.elsewhere(roots, tmp_path)
    frozen = experiment("frozen")
    frozen.data.streams, frozen.data.longest_s = {"speech": "wavlm@2-3.pooled"}, 0.0
    frozen.tune, frozen.data.standardize = Tune(), ("speech",)
    train.train(frozen.check(), there)
    c = experiment(encoder="wavlm@2-3.pooled")
    c.data.longest_s, c.data.standardize = 1.0, ("speech",)
    c.init_from = "absent"
    with pytest.raises(FileNotFoundError, match=r"absent: no run there, and init_from"):
        train.train(c.check(), there)
    with pytest.raises(ValueError, match="--init_from: the config names another"):
        train.train(c, there, init_from=there.runs / "frozen")
    c.init_from, c.optim.encoder_rate, c.epochs = "frozen", 0.0, 1
    c.optim.lr = c.optim.final_lr = 1e-12
    train.train(c.check(), there)
    said = [predict.predict(there, there.runs / n, "dev") for n in ("frozen", c.name)]
    # Sound and frames are both stored as float16, each rounding its own way.
    np.testing.assert_allclose(said[0].logits, said[1].logits, atol=5e-3)
    levelled = dataclasses.replace(c, name="levelled")
    levelled.tune = dataclasses.replace(c.tune, level="corpus")
    state = train.train(levelled.check(), there)
    assert set(state.standard) == {tuned.LEVEL, "speech_input"}
    other = dataclasses.replace(c, name="other")
    other.model = dataclasses.replace(c.model, hidden=9)
    with pytest.raises(ValueError, match=r"model\.hidden was 8, is 9"):
        train.train(other.check(), there)


def test_an_encoder_is_frozen_at_first():
    c = experiment()
    c.tune.frozen_epochs, c.optim.encoder_rate = 2, 0.5
    thaw = optimizer.make_thaw(c, 10)
    assert thaw is not None
    assert [float(thaw(step)) for step in (0, 19, 20, 99)] == [0, 0, 0.5, 0.5]
    params = {tuned.ENCODER: {"w": jnp.ones(2)}, "hidden": {"w": jnp.ones(2)}}
    tx = optimizer.make_optimizer(c.optim, lambda step: 0.1, thaw)
    state = tx.init(params)
    gradient = jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(gradient, state, params)
    assert not updates[tuned.ENCODER]["w"].any()
    assert updates["hidden"]["w"].all()
    c.optim.clip_norm = 1.0
    loud = {**gradient, tuned.ENCODER: {"w": jnp.full(2, 1e9)}}
    steps = []
    for given in (gradient, loud):
        tx = optimizer.make_optimizer(c.optim, lambda step: 0.1, thaw)
        steps.append(tx.update(given, tx.init(params), params)[0]["hidden"]["w"])
    np.testing.assert_array_equal(*steps)  # What is frozen clips nothing.


def test_accumulation_is_one_step_of_the_mean_gradient():
    c = Optim(lr=0.1, accumulate=2, clip_norm=1.0, average=0.5, weight_decay=0.0)
    params = {"hidden": {"w": jnp.zeros(2)}}
    tx = optimizer.make_optimizer(c, lambda step: 0.1)
    state = tx.init(params)
    for k, gradient in enumerate(([3.0, 0.0], [1.0, 0.0])):
        given = {"hidden": {"w": jnp.asarray(gradient)}}
        updates, state = tx.update(given, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        assert bool(params["hidden"]["w"].any()) == (k == 1)
    np.testing.assert_allclose(params["hidden"]["w"], [-0.1, 0.0], atol=1e-6)
    mean = optimizer.averaged(state)
    np.testing.assert_allclose(mean["hidden"]["w"], [-0.05, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: setattr(c.tune, "encoder", ""), "data.streams.*no waveform"),
        (lambda c: setattr(c.tune, "encoder", "wavln"), "tune.encoder"),
        (lambda c: setattr(c.tune, "encoder", "wavlm.trimmed"), "waveform's"),
        (lambda c: setattr(c.data, "longest_s", 31.0), "data.longest_s.*30"),
        (lambda c: setattr(c.data, "adapt", "speaker"), "data.adapt"),
        (lambda c: setattr(c.data, "streams", {"speech": "logmel"}), "one waveform"),
        (lambda c: setattr(c.tune, "how", "some"), "tune.how"),
        (lambda c: setattr(c.tune, "targets", "blocks/("), "a regular expression"),
        (lambda c: setattr(c.tune, "frozen_epochs", 2), "fewer than epochs"),
        (lambda c: setattr(c.tune, "alpha", 0.0), "tune.alpha"),
        (lambda c: setattr(c.optim, "accumulate", 0), "optim.accumulate"),
        (lambda c: setattr(c.augment, "room", 1.5), "augment.room"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(change, told):
    c = experiment()
    change(c)
    with pytest.raises(ValueError, match=told):
        c.check()


def test_sound_s_options_need_an_encoder_that_learns():
    c = tiny_corpus.experiment()
    c.augment.room = 0.5
    with pytest.raises(ValueError, match=r"augment\.room.*tune\.encoder"):
        c.check()


def test_whisper_reads_sound_at_no_other_level(home):
    c = experiment(encoder="whisper")
    c.tune.level = "corpus"
    with pytest.raises(ValueError, match=r"tune\.level: 'corpus'.*Whisper"):
        tuned.open(c.check(), {"whisper": home / "whisper"})


def test_stored_speech_beside_sound_may_be_disturbed():
    c = experiment(more="logmel")
    c.augment.noise = 0.1
    c.check()
    c = experiment(text="char_ngrams")
    c.augment.noise = 0.1
    with pytest.raises(ValueError, match=r"augment\.noise.*stored speech"):
        c.check()


@pytest.mark.slow
def test_more_batches_a_step_than_there_are_is_refused(roots, tmp_path):
    c = experiment()
    c.optim.accumulate = 100
    with pytest.raises(ValueError, match=r"optim\.accumulate: 100 batches"):
        train.train(c.check(), tiny_corpus.elsewhere(roots, tmp_path))
    c.optim.accumulate = 1
    with pytest.raises(ValueError, match="--resident: sound is not kept"):
        train.train(c, tiny_corpus.elsewhere(roots, tmp_path), resident=True)


def test_a_cut_download_is_one_line(home, tmp_path):
    for path in (home / "wavlm").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = tmp_path / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(ValueError, match="Fetch the file again"):
        tuned.open(experiment(), {"wavlm": tmp_path})
    with pytest.raises(ValueError, match="'whisper' is no encoder that learns here"):
        tuned.refuse_unread([experiment()], {"whisper": pathlib.Path("x")})


def test_the_baseline_is_the_challenge_s():
    c = recipes.load("wavlm_finetune").check()
    assert (c.tune.how, c.tune.level, c.data.longest_s) == ("full", "corpus", 12.0)
    assert c.data.batch_size * c.optim.accumulate == 32
    assert c.optim.lr == c.optim.final_lr == 1e-5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: setattr(c.augment, "noise", 0.1), r"augment\.noise.*stored speech"),
        (lambda c: setattr(c.augment, "crop_s", 0.01), r"augment\.crop_s.*0\.1"),
        (
            lambda c: (setattr(c.tune, "how", "full"), setattr(c.tune, "rank", 2)),
            r"tune\.rank: 2 must be 16, its default, with tune\.how 'full'",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(change, told):
    c = experiment()
    change(c)
    with pytest.raises(ValueError, match=told):
        c.check()
    c = tiny_corpus.experiment()
    c.tune.how = "full"
    with pytest.raises(ValueError, match=r"tune\.how.*without tune\.encoder"):
        c.check()
