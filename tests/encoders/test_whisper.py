"""Whisper's spectrogram and encoder against transformers'."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser import audio, encoders
from jser.encoders import weights, whisper
from tests.helpers.paths import SHARED

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

SOURCE = SHARED / "data" / "emodb"
WEIGHTS = os.environ.get("JSER_WHISPER_BASE", "")
SMALL = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "vocab_size": 40,
    "pad_token_id": 0,
}


def small(**changes):
    """A model in large-v3's flags, with noisy norms and biases."""
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**SMALL | changes)
    ).eval()
    with torch.no_grad():
        for p in model.model.encoder.parameters():
            spread = 0.1 if p.ndim == 1 else 0.5 / p[0].numel() ** 0.5
            p.add_(torch.randn_like(p) * spread)
    return model


def states_of(model, mel):
    with torch.no_grad():
        out = model.get_encoder()(
            torch.tensor(np.moveaxis(mel, 1, 2)), output_hidden_states=True
        )
    return np.stack(
        [*(h.numpy() for h in out.hidden_states[:-1]), out.last_hidden_state]
    )


def tone(rng, n):
    t = np.arange(n) / 16000
    swell = 0.3 * np.sin(2 * np.pi * 220 * t) * np.exp(-t)
    return (swell + 1e-3 * rng.standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("bands", [80, 128])
def test_the_spectrogram_is_transformers(rng, bands):
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands)
    silence = np.zeros(5000, np.float32)
    lengths = (1, 399, 16000, 79999, 80000, 80001, 479800, 479999, 480000)
    for x in (silence, *(tone(rng, n) for n in lengths)):
        (want,) = extractor(x, sampling_rate=16000).input_features
        got = whisper.log_mel(x, bands)
        assert got.shape == (3000, bands)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want.T, atol=1e-4, rtol=0)


def test_more_than_30_seconds_are_refused():
    with pytest.raises(ValueError, match="480001 samples are more than 30 s"):
        whisper.log_mel(np.zeros(480001, np.float32), 80)


def test_the_encoder_and_every_layer_equal_pytorch(tmp_path, rng):
    model = small(num_mel_bins=128)
    model.save_pretrained(tmp_path)
    module, params = whisper.load(tmp_path)
    mel = whisper.log_mel(tone(rng, 50000), module.config.bands)[None]
    got = jax.jit(module.apply)(params, mel)
    assert (got.shape, got.dtype) == ((3, 1, 1500, 32), jnp.float32)
    np.testing.assert_allclose(got, states_of(model, mel), atol=3e-5, rtol=0)
    kept = {1: 1, 320: 1, 321: 2, 479999: 1500, 480000: 1500}
    assert {n: whisper.frames(n) for n in kept} == kept


def test_a_short_encoder_in_a_batch_and_in_bfloat16(tmp_path, rng):
    model = small(max_source_positions=60)
    model.model.save_pretrained(tmp_path)  # Without the head names begin otherwise.
    mel = rng.standard_normal((3, 120, 80)).astype(np.float32)
    want = states_of(model, mel)
    module, params = whisper.load(tmp_path)
    apply = jax.jit(module.apply)
    got = apply(params, mel)
    np.testing.assert_allclose(got, want, atol=3e-5, rtol=0)
    np.testing.assert_allclose(got[:, :1], apply(params, mel[:1]), atol=2e-5, rtol=0)

    module, params = whisper.load(tmp_path, dtype=jnp.bfloat16)
    assert params["params"]["blocks"]["up"]["kernel"].dtype == jnp.bfloat16
    error = jax.jit(module.apply)(params, mel) - want
    assert error.dtype == jnp.float32
    assert np.sqrt(np.mean(error**2) / np.mean(want**2)) < 0.02
    with pytest.raises(ValueError, match=r"\(110, 80\), not \(120, 80\)"):
        module.apply(params, mel[:, :110])


def test_a_short_context_equals_pytorch_with_its_positions_cut(tmp_path, rng):
    model = small()
    model.save_pretrained(tmp_path)
    cut = small(max_source_positions=100)
    name = "model.encoder.embed_positions.weight"
    state = model.state_dict()
    cut.load_state_dict(state | {name: state[name][:100]})
    sounds = [tone(rng, n) for n in (20_000, 32_000, 17_001)]
    for backend in ("jax", "torch"):
        options = {"layer": "all", "backend": backend}
        encode = encoders.load(tmp_path, context="short", **options)
        for x, got in zip(sounds, encode(sounds), strict=True):
            mel = whisper.log_mel(x, 80)[None, :200]
            want = states_of(cut, mel)[:, 0, : whisper.frames(len(x))]
            np.testing.assert_allclose(got, want.swapaxes(0, 1), atol=3e-5, rtol=0)
        whole = encoders.load(tmp_path, **options)(sounds[:1])[0]
        assert np.abs(encode(sounds[:1])[0] - whole).max() > 0.01
    module = whisper.WhisperEncoder(whisper.Config.read(tmp_path), short=True)
    for n in (0, 101, 3002):
        with pytest.raises(ValueError, match=rf"\({n}, 80\), not \(3000, 80\)"):
            module.init(jax.random.key(0), np.zeros((1, n, 80), np.float32))


@pytest.mark.skipif(
    not (WEIGHTS and SOURCE.exists()),
    reason="JSER_WHISPER_BASE names no folder, or EMO-DB is not in ../shared/data",
)
def test_real_states_are_pytorchs_and_those_of_short_context_are_near():
    folder = pathlib.Path(WEIGHTS)
    model = transformers.WhisperModel.from_pretrained(folder).eval()
    sounds = [audio.load(path) for path in sorted(SOURCE.glob("**/*.flac"))[:120:40]]
    full = encoders.load(folder, layer="all")(sounds)
    short = encoders.load(folder, layer="all", context="short")(sounds)
    for x, whole, cut in zip(sounds, full, short, strict=True):
        want = states_of(model, whisper.log_mel(x, 80)[None])[:, 0, : len(whole)]
        error = np.square(whole.swapaxes(0, 1) - want).mean((1, 2))
        assert (error < 1e-8 * np.square(want).mean((1, 2))).all()
        norms = np.linalg.norm(whole, axis=-1) * np.linalg.norm(cut, axis=-1)
        near = ((whole * cut).sum(-1) / norms).mean(0)
        assert near[0] > 0.9999
        assert (near > 0.9).all()


def test_what_cannot_be_computed_is_refused(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    config = weights.read_config(tmp_path)
    for changed, message in (
        (
            config | {"model_type": "hubert"},
            "model_type is 'hubert', not one of whisper",
        ),
        (config | {"activation_function": "relu"}, "activation_function = 'relu'"),
        ({k: v for k, v in config.items() if k != "d_model"}, "lacks d_model"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            whisper.Config.read(tmp_path)
    for layers, message in ((3, r"lack layers\.2\."), (1, r"no place for layers\.1\.")):
        changed = config | {"encoder_layers": layers}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            whisper.load(tmp_path)
