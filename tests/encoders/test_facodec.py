"""FACodec's port against the authors' numbers, and against itself in batches.

The numbers are in ../shared/fixtures, which does not belong to the repository; there,
the weights are made from their names.
"""

import functools
import importlib.util
import json

from flax import traverse_util
import jax
import numpy as np
import pytest

from jser.encoders import facodec, facodec_encoder
from jser.features import frontends
from tests.helpers.paths import SHARED

slow = pytest.mark.slow
FIXTURES = SHARED / "fixtures"
with_numbers = pytest.mark.skipif(
    not (FIXTURES / "seeded_facodec.npz").exists(),
    reason="the authors' numbers are not in ../shared/fixtures",
)
SAMPLES = (8111, 16000, 23456)  # Of the fixture's utterances.
LONGEST = 24000


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "seeded_facodec.npz", allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def seeded():
    path = FIXTURES / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def states(numbers, seeded) -> tuple[dict, dict]:
    """The encoder's and the decoder's arrays by their published names."""
    encoder, decoder = {}, {"model.0.bias": np.zeros(3)}  # The latter is not used.
    for name, shape in zip(
        numbers["param/names"], numbers["param/shapes"], strict=True
    ):
        name, dims = str(name), tuple(json.loads(str(shape)))
        state = encoder if name.startswith("encoder.") else decoder
        state[name.removeprefix("encoder.")] = seeded.weight(name, dims)
    return encoder, decoder


def save(states, folder):
    """The two published files, with such weights."""
    torch = pytest.importorskip("torch")
    for name, state in zip(facodec.FILES, states, strict=True):
        arrays = {k: torch.tensor(np.array(v, np.float32)) for k, v in state.items()}
        torch.save(arrays, folder / name)
    return folder


@pytest.fixture(scope="module")
def folder(states, tmp_path_factory):
    return save(states, tmp_path_factory.mktemp("facodec"))


@pytest.fixture(scope="module")
def params(folder):
    return facodec.load(folder)[1]["params"]


@pytest.fixture(scope="module")
def waves(seeded) -> list[np.ndarray]:
    return [seeded.noise(f"wav/{i}", (n,), 0.05) for i, n in enumerate(SAMPLES)]


# The tests' compiler does not fuse, which costs the encoder twenty times its speed.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
def run(params, waves, lengths):
    """Features of 512 columns, prosody codes."""
    with jax.default_matmul_precision("highest"):
        return facodec.FaCodec().apply({"params": params}, waves, lengths)


def kaiser_sinc() -> np.ndarray:
    """The published filter: cutoff 0.25, half width 0.3, 12 taps."""
    attenuation_db = 2.285 * 5 * np.pi * 4 * 0.3 + 7.95
    window = np.kaiser(12, 0.1102 * (attenuation_db - 8.7))
    taps = window * np.sinc((np.arange(12) - 5.5) / 2)
    return (taps / taps.sum()).astype(np.float32)


def padded(waves, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch with noise on the padding, and the lengths."""
    batch = np.random.default_rng(0).normal(size=(len(waves), samples))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    return batch.astype(np.float32), np.array([len(w) for w in waves])


@pytest.fixture(scope="module")
def together(params, waves):
    return run(params, *padded(waves, LONGEST))


def worst(got, want) -> float:
    assert got.shape == want.shape
    return float(np.abs(np.asarray(got) - want).max())


@slow
@with_numbers
def test_mel(numbers, params, waves):
    variables = {"params": params["mel"]}
    for i, wave in enumerate(waves):
        want = numbers[f"out/{i}/mel20"].T
        n = len(want) * facodec.HOP
        wave = np.pad(wave, (0, n - len(wave)))
        got = facodec.LogMel().apply(variables, wave[None], np.array([n]))
        # Seeded bands have both signs: a sum near zero has no accurate logarithm.
        np.testing.assert_allclose(np.exp(got[0]), np.exp(want), rtol=1e-5, atol=1e-6)
        assert np.quantile(np.abs(got[0] - want), 0.98) < 1e-5


@slow
@with_numbers
@pytest.mark.parametrize("i", range(len(SAMPLES)))
def test_the_authors_numbers(numbers, together, i):
    features, codes = together
    T = int(numbers[f"out/{i}/frames"])
    assert facodec.frames(SAMPLES[i]) == T
    assert int(numbers[f"in/{i}/samples"]) == SAMPLES[i]
    np.testing.assert_array_equal(codes[i, :T], numbers[f"out/{i}/codes"])
    want = numbers[f"out/{i}/concat_TC"]
    got = features[i, : len(want)]
    assert worst(got[:, :256], numbers[f"out/{i}/prosody_TC"]) < 1e-4
    # Through seeded filters, which pass everything, rounding grows: the authors' own
    # numbers are 2e-3 from float64's.
    assert worst(got[:, 256:], want[:, 256:]) < 1e-2


@slow
@with_numbers
def test_prosody_alone_is_the_first_half(folder, together, waves):
    module, variables = facodec.load(folder, timbre=False)
    # It neither needs nor runs the convolutional encoder.
    names = {"mel", "mel_projection", "prosody", "quantizer"}
    assert set(variables["params"]) == names
    got, _ = jax.jit(module.apply)(variables, *padded(waves, LONGEST))
    assert worst(got, np.asarray(together[0])[..., :256]) < 1e-6
    assert together[0].shape == (3, facodec.frames(LONGEST), 512)


@with_numbers
def test_prosody_is_the_authors_in_a_batch(numbers, waves, folder):
    """The quick one of this file."""
    module, variables = facodec.load(folder, timbre=False)
    got, codes = jax.jit(module.apply)(variables, *padded(waves[:2], SAMPLES[1]))
    for i in range(2):
        want = numbers[f"out/{i}/prosody_TC"]
        assert worst(got[i, : len(want)], want) < 1e-4
        T = facodec.frames(SAMPLES[i])
        np.testing.assert_array_equal(codes[i, :T], numbers[f"out/{i}/codes"])


@slow
@with_numbers
def test_the_front_end_gives_the_authors_numbers(numbers, waves, folder):
    front_end = frontends.open("facodec_prosody", weights=folder)
    spec = front_end.spec
    assert (spec.width, spec.frames_per_s, spec.layers) == (256, 80, 1)
    done = []
    encode = front_end.load()
    got = encode(waves, done.append)
    assert sum(done) == len(waves)
    for i, frames in enumerate(got):
        want = numbers[f"out/{i}/prosody_TC"]
        assert len(frames) == facodec.frames(SAMPLES[i])
        assert worst(frames[: len(want)], want) < 1e-4
    assert worst(encode(waves[:1])[0], got[0]) < 2e-5
    # As the authors' file is, for an utterance of less than 30 s.
    compatible = frontends.open("facodec_prosody", weights=folder, compat=True)
    assert compatible.spec != spec
    assert worst(compatible.load()(waves[:1])[0], got[0]) < 2e-5


@slow
@with_numbers
def test_the_front_end_with_timbre(together, waves, folder):
    front_end = frontends.open("facodec", weights=folder)
    assert front_end.spec.width == 512
    (got,) = front_end.load()(waves[:1])
    want = np.asarray(together[0][0, : len(got)])
    assert worst(got[:, :256], want[:, :256]) < 1e-4
    assert worst(got[:, 256:], want[:, 256:]) < 1e-2


@pytest.fixture(scope="module")
def published_filters(params):
    """The seeded weights with the published filters, through which rounding is tame."""
    flat = traverse_util.flatten_dict(params)
    taps = kaiser_sinc()[None, None]
    new = {k: taps if k[-1].endswith("filter") else v for k, v in flat.items()}
    return traverse_util.unflatten_dict(new)


@slow
@with_numbers
@pytest.mark.parametrize("samples", [4200, LONGEST])
def test_batched_equals_alone(published_filters, rng, samples):
    # The last is alone without any padding; one shape, and so one compilation, for all.
    for lengths in (
        (*rng.integers(400, 4000, 2), 4000),
        (*rng.integers(1, 4000, 2), 200),
    ):
        waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in lengths]
        features, codes = run(published_filters, *padded(waves, samples))
        for i, wave in enumerate(waves):
            alone, codes_alone = run(published_filters, *padded([wave], 4000))
            T = facodec.frames(len(wave))
            np.testing.assert_array_equal(codes[i, :T], codes_alone[0, :T])
            assert worst(features[i, :T], np.asarray(alone[0, :T])) < 2e-5


@slow
@pytest.mark.parametrize(
    ("samples", "frames"),
    [(200, 2), (400, 3), (401, 3), (16000, 81), (16001, 81), (479999, 2400)],
)
def test_frame_counts(samples, frames):
    assert facodec.frames(samples) == frames
    wave = jax.ShapeDtypeStruct((1, samples), np.float32)
    length = jax.ShapeDtypeStruct((1,), np.int32)
    init = facodec.FaCodec(timbre=False).init_with_output
    (features, _), _ = jax.eval_shape(init, jax.random.key(0), wave, length)
    assert features.shape == (1, frames, 256)


@slow
def test_activation_by_its_definition(rng):
    """At the doubled rate, with zeros between samples, as the authors wrote it."""
    x, alpha, beta = rng.normal(size=40), 0.3, -0.2
    filters = rng.normal(0, 0.3, (2, 12))
    edges = np.zeros(100)
    edges[::2] = np.pad(x, 5, mode="edge")
    up = 2 * np.convolve(edges, filters[0])[15:95]
    up = up + np.sin(up * np.exp(alpha)) ** 2 / np.exp(beta)
    want = np.correlate(np.pad(up, (5, 6), mode="edge"), filters[1], "valid")[::2]
    params = {
        "act.alpha": np.float32([alpha]),
        "act.beta": np.float32([beta]),
        "upsample.filter": np.float32(filters[:1, None]),
        "downsample.lowpass.filter": np.float32(filters[1:, None]),
    }
    batch = np.concatenate([x, rng.normal(size=9)]).astype(np.float32)[None, :, None]
    got = facodec_encoder.SnakeBeta().apply({"params": params}, batch, np.array([40]))
    assert worst(got[0, :40, 0], want) < 1e-6


@slow
def test_squared_sine():
    x = np.linspace(-3000, 3000, 100_001).astype(np.float32)
    got = facodec_encoder._squared_sine(x)
    assert worst(got, np.sin(x.astype(np.float64)) ** 2) < 1e-6


@slow
@with_numbers
@pytest.mark.parametrize(
    ("part", "name"),
    [
        (0, "block.4.block.2.block.0.act.alpha"),
        (0, "mel_transform.mel_basis"),
        (0, "block.0.weight_v"),
        (0, "block.0.weight_g"),
        (1, "timbre_encoder.layers.3.self_attn.in_proj_weight"),
        (1, "timbre_encoder.position_emb.pe"),
        (1, "quantizer.0.layers.0._codebook.weight"),
    ],
)
def test_missing_and_misshapen_arrays(states, tmp_path, part, name):
    broken = [dict(s) for s in states]
    array = broken[part].pop(name)
    file = facodec.FILES[part]
    with pytest.raises(ValueError, match=rf"{file}: the weights lack {name}\."):
        facodec.load(save(broken, tmp_path))
    if not name.endswith(("_v", "_g")):
        broken[part][name] = array[:-1]
        with pytest.raises(ValueError, match=rf"{file}: {name} has the shape"):
            facodec.load(save(broken, tmp_path))
