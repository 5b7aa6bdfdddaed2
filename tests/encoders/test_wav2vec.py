"""The waveform encoders against transformers' PyTorch models, with the real flags."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import wav2vec, weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
BASE = {
    "feat_extract_norm": "group",
    "conv_bias": False,
    "do_stable_layer_norm": False,
}
MODELS = {
    "hubert-xlarge": ("hubert", LARGE),
    "wavlm-large": ("wavlm", LARGE | {"conv_bias": False}),
    "hubert-base": ("hubert", BASE),
    "wavlm-base-plus": ("wavlm", BASE),
    "wav2vec2-base": ("wav2vec2", BASE | {"num_conv_pos_embeddings": 127}),
}
EVEN_IN_TORCH = ("hubert-xlarge", "wavlm-large")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """By name: the folder of a small checkpoint, and PyTorch's model."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, save(folder, *MODELS[name])
        return made[name]

    return make


def save(folder, kind, flags):
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(kind, **SMALL | flags)
    ).eval()
    with torch.no_grad():  # Away from zero biases, unit scales, and small matrices.
        for p in model.parameters():
            p.add_(
                torch.randn_like(p)
                * (0.1 if p.ndim == 1 else 0.5 / p[0].numel() ** 0.5)
            )
    model.save_pretrained(folder)
    preprocessor = json.dumps({"do_normalize": True})
    (folder / "preprocessor_config.json").write_text(preprocessor)
    return model


def speech(rng, *lengths):
    return [rng.standard_normal(n).astype(np.float32) for n in lengths]


def pad(utterances, length, fill=0.0):
    padded = np.full((len(utterances), length), fill, np.float32)
    for row, x in zip(padded, utterances, strict=True):
        row[: len(x)] = x
    return padded, np.array([len(x) for x in utterances])


def states_of(model, samples, mask=None):
    with torch.no_grad():
        out = model(
            torch.tensor(samples),
            attention_mask=None
            if mask is None
            else torch.tensor(mask, dtype=torch.long),
            output_hidden_states=True,
        )
    return np.stack(
        [*(h.numpy() for h in out.hidden_states[:-1]), out.last_hidden_state]
    )


def assert_close(got, want, atol):
    np.testing.assert_allclose(np.asarray(got, np.float32), want, atol=atol, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_batch_equals_pytorch_alone_in_every_layer(checkpoints, rng, name):
    folder, model = checkpoints(name)
    module, params = wav2vec.load(folder)
    utterances = speech(rng, 7000, *rng.integers(401, 7000, 3), 719, 400)
    samples, lengths = pad(utterances, 7000)
    got, mask = jax.jit(module.apply)(params, samples, lengths)
    assert (got.shape, got.dtype) == ((4, 6, 21, 32), jnp.float32)
    np.testing.assert_array_equal(mask.sum(1), (lengths - 400) // 320 + 1)
    for i, x in enumerate(utterances):
        assert_close(got[:, i, mask[i]], states_of(model, x[None])[:, 0], atol=3e-5)
    if name in EVEN_IN_TORCH:
        want = states_of(model, samples, np.arange(7000) < lengths[:, None])
        assert_close(got[:, mask], want[:, mask], atol=3e-5)


@pytest.mark.parametrize("name", ["wavlm-large", "hubert-base"])
def test_batched_equals_alone_whatever_the_padding(checkpoints, rng, name):
    module, params = wav2vec.load(checkpoints(name)[0])
    utterances = speech(rng, rng.integers(2000, 7000), 719)
    apply = jax.jit(module.apply)
    got, mask = apply(params, *pad(utterances, 9000, fill=9.0))
    for i, x in enumerate(utterances):
        alone, _ = apply(params, *pad([x], len(x)))
        assert_close(got[:, i, mask[i]], alone[:, 0], atol=2e-5)


@pytest.mark.parametrize("name", ["wavlm-large", "hubert-base"])
def test_bfloat16_is_near(checkpoints, rng, name):
    folder, model = checkpoints(name)
    module, params = wav2vec.load(folder, dtype=jnp.bfloat16)
    assert params["params"]["blocks"]["up"]["kernel"].dtype == jnp.bfloat16
    (x,) = speech(rng, 8000)
    got, _ = jax.jit(module.apply)(params, x[None], np.array([8000]))
    assert got.dtype == jnp.float32
    want = states_of(model, x[None])
    assert np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 0.02


def test_frame_counts_are_pytorchs(checkpoints):
    folder, model = checkpoints("hubert-base")
    config = wav2vec.Config.read(folder)
    for n in (400, 401, 719, 720, 16000, 479999, 480001):
        want = int(model._get_feat_extract_output_lengths(torch.tensor(n)))
        assert config.frames(n) == want == (n - 400) // 320 + 1
    assert config.frames(399) <= 0
    module, params = wav2vec.load(folder)
    short = np.zeros((1, 399), np.float32)
    with pytest.raises(ValueError, match="399 samples are too few"):
        module.apply(params, short, np.array([399]))


def test_buckets_are_wavlms():
    attention = transformers.models.wavlm.modeling_wavlm.WavLMAttention
    distance = np.arange(-2000, 2001)
    for buckets, furthest in ((320, 800), (32, 100)):
        theirs = attention(4, 2, num_buckets=buckets, max_distance=furthest)
        want = theirs._relative_positions_bucket(torch.tensor(distance))
        got = wav2vec.relative_bucket(distance, buckets, furthest)
        np.testing.assert_array_equal(got, want)


def test_normalise_is_the_preprocessors(rng):
    (x,) = speech(rng, 5000)
    extractor = transformers.Wav2Vec2FeatureExtractor()
    want = extractor(3 * x + 1, sampling_rate=16000).input_values[0]
    np.testing.assert_array_equal(wav2vec.normalise(3 * x + 1), want)
    assert not wav2vec.normalise(np.zeros(400, np.float32)).any()


def test_an_old_file_of_a_model_with_a_head_loads_too(checkpoints, tmp_path):
    folder, model = checkpoints("hubert-xlarge")
    with_head = transformers.HubertForCTC(model.config)
    with_head.hubert = model
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): x
        for name, x in with_head.state_dict().items()
    }
    torch.save(old, tmp_path / "pytorch_model.bin")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (_, want), (_, got) = wav2vec.load(folder), wav2vec.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_what_cannot_be_computed_is_refused(checkpoints, tmp_path):
    folder, _ = checkpoints("wav2vec2-base")
    config = weights.read_config(folder)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    missing = {k: v for k, v in config.items() if k != "conv_kernel"}
    for changed, message in (
        (config | {"model_type": "bert"}, "model_type is 'bert', not one of hubert"),
        (config | {"add_adapter": True}, "add_adapter = True is not supported"),
        (
            config | {"feat_extract_norm": "batch"},
            "feat_extract_norm = 'batch' is not supported",
        ),
        (missing, "config.json: lacks conv_kernel"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            wav2vec.Config.read(tmp_path)
    deeper, shallower = ({"num_hidden_layers": n} for n in (4, 2))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    for changed, message in (
        (deeper, "lack encoder.layers.3"),
        (shallower, "no place"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(ValueError, match=message):
            wav2vec.load(tmp_path)
