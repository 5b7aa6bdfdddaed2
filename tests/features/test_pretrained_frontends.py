"""Front ends with weights, from folders to frames, against transformers'."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jser.encoders import tokens, wav2vec
from jser.features import frontends
from tests.helpers import tiny_checkpoints, tiny_corpus

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

WAVES = ("hubert", "hubert_base", "wavlm", "wav2vec2")
SPEECH = ("whisper", *WAVES)
TEXT = ("bert", "roberta", "deberta")
TRANSCRIPTS = (
    "",
    "I can not believe it",
    "so happy 😀👩‍👩‍👧 today",
    "أنا سعيد",
    "שלום!",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By name: a checkpoint's folder, PyTorch's model, and its encoders by options."""
    folders, models, encoders = {}, {}, {}

    class Made:
        def folder(self, name):
            if name not in folders:
                folders[name] = tmp_path_factory.mktemp(name)
                models[name] = tiny_checkpoints.make(name, folders[name])
            return folders[name]

        def model(self, name):
            self.folder(name)
            return models[name]

        def open(self, name, **options):
            front_end = name.removesuffix("_base")
            return frontends.open(front_end, weights=self.folder(name), **options)

        def encoder(self, name, **options):
            key = name, *sorted(options.items())
            if key not in encoders:
                encoders[key] = self.open(name, **options).load()
            return encoders[key]

    return Made()


def sounds(rng, *lengths):
    return [
        tiny_corpus.tone(220, n / 16000)[:n]
        + 0.1 * rng.standard_normal(n).astype(np.float32)
        for n in lengths
    ]


def reference(made, name, x):
    """[T, L + 1, D] of one utterance alone, by PyTorch."""
    return tiny_checkpoints.reference(made.model(name), made.folder(name), x)


def inputs_for(name, rng):
    if name in TEXT:
        return TRANSCRIPTS
    return sounds(rng, 400, 9000, 401, *rng.integers(401, 9000, 2))


def test_short_context_batched_equals_alone_in_any_order(made, rng):
    inputs = sounds(
        rng, 400, 15_000, 16_000, 16_001, 50_000, *rng.integers(400, 64_000, 9)
    )
    encode = made.encoder("whisper", context="short", layer="all")
    together = encode(inputs)
    assert [len(x) for x in together] == [-(-len(x) // 320) for x in inputs]
    assert_alike(together, [encode([x])[0] for x in inputs], atol=2e-5)
    assert_alike(together, encode(inputs[::-1])[::-1], atol=2e-5)


def assert_alike(got, want, atol):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", [*SPEECH, *TEXT])
def test_every_layer_equals_pytorch_alone(made, rng, name, backend):
    inputs = inputs_for(name, rng)
    spec = made.open(name, layer="all", backend=backend).spec
    assert (spec.layers, spec.width) == (
        tiny_checkpoints.LAYERS + 1,
        tiny_checkpoints.WIDTH,
    )
    got = made.encoder(name, layer="all", backend=backend)(inputs)
    assert all(x.dtype == np.float32 for x in got)
    assert_alike(got, [reference(made, name, x) for x in inputs], atol=3e-5)


@pytest.mark.parametrize("name", ["whisper", "wavlm", "bert", "roberta", "deberta"])
def test_a_choice_of_layers_is_that_of_all(made, rng, name):
    inputs = inputs_for(name, rng)[:2]
    whole = made.encoder(name, layer="all")(inputs)
    for layer, row in (("last", 3), ("0", 0), ("1", 1), ("2", 2)):
        got = made.encoder(name, layer=layer)(inputs)
        assert_alike(got, [x[:, row] for x in whole], atol=2e-5)
    got = made.encoder(name, layer="mean_last_4")(inputs)
    assert_alike(got, [x.mean(1) for x in whole], atol=2e-5)
    for backend in ("jax", "torch"):
        with pytest.raises(ValueError, match=r"'4' is not one of .* 0 to 3"):
            made.open(name, layer="4", backend=backend)


@pytest.mark.parametrize("name", [*SPEECH, *TEXT])
def test_batched_equals_alone_in_any_order(made, rng, name):
    if name in TEXT:
        counts = (*rng.integers(0, 30, 4), 100)
        inputs = [" ".join(rng.choice(tiny_checkpoints.WORDS, n)) for n in counts]
    else:
        inputs = sounds(rng, *rng.integers(400, 16000, 5))
    encode, done = made.encoder(name), []
    together = encode(inputs, done.append)
    assert sum(done) == len(inputs)
    assert_alike(together, [encode([x])[0] for x in inputs], atol=2e-5)
    assert_alike(together, encode(inputs[::-1])[::-1], atol=2e-5)
    before = encode.compiled
    encode(inputs)
    assert 0 < before == encode.compiled


@pytest.mark.parametrize(
    ("name", "formula"),
    [("whisper", lambda n: -(-n // 320)), ("wavlm", lambda n: (n - 400) // 320 + 1)],
)
def test_frame_counts_and_nothing_is_dropped(made, rng, name, formula):
    lengths = (400, 401, 16000, 479999, 480001, 900001)
    got = made.encoder(name)(sounds(rng, *lengths))
    assert [len(x) for x in got] == [formula(n) for n in lengths]
    assert all(np.isfinite(x).all() for x in got)


@pytest.mark.parametrize("name", TEXT)
def test_a_long_transcript_is_windows(made, rng, name):
    text = " ".join(rng.choice(tiny_checkpoints.WORDS, 3000))
    (got,) = made.encoder(name)([text])
    tokenizer = tokens.load(made.folder(name))
    assert len(got) == len(tokenizer(text)["input_ids"]) > 3000
    assert np.isfinite(got).all()
    first, *_, last = tokens.tokenize(tokenizer, text, 512)
    for window, rows in ((first, got[: len(first) - 1]), (last, got[-len(last) + 1 :])):
        want = tiny_checkpoints.states(made.model(name), input_ids=[window])[:, -1]
        kept = want[:-1] if window is first else want[1:]
        np.testing.assert_allclose(rows, kept, atol=3e-5, rtol=0)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", ["hubert", "whisper", "bert", "roberta", "deberta"])
def test_bfloat16_is_near(made, rng, name, backend):
    inputs = inputs_for(name, rng)[:2]
    got = made.encoder(name, dtype="bfloat16", backend=backend)(inputs)
    got, want = np.concatenate(got), np.concatenate(made.encoder(name)(inputs))
    assert got.dtype == np.float32
    assert 0 < np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)) < 0.03


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", TEXT)
def test_text_compatible_with_the_authors_files(made, rng, name, backend):
    long = " ".join(rng.choice(tiny_checkpoints.WORDS, 90))
    inputs = ["I can not", long, ""]
    tokenizer = tokens.load(made.folder(name))
    got = made.encoder(name, compat=True, backend=backend)(inputs)
    for text, frames in zip(inputs, got, strict=True):
        theirs = tokenizer(text, truncation=True, padding="max_length", max_length=80)
        given = {k: [theirs[k]] for k in ("input_ids", "attention_mask")}
        want = tiny_checkpoints.states(made.model(name), **given)[:, -1]
        assert len(want) == 80
        np.testing.assert_allclose(frames, want, atol=3e-5, rtol=0)


def test_sound_compatible_with_the_authors_files(made, rng):
    short, long = sounds(rng, 9000, 500_000)
    usual, compatible = (
        made.encoder("whisper", compat=compat)([short, long])
        for compat in (False, True)
    )
    # They compare the frames with the width, 32 here, and read 30 s.
    assert [len(x) for x in compatible] == [29, 32]
    np.testing.assert_allclose(compatible[0], usual[0], atol=2e-5, rtol=0)
    want = reference(made, "whisper", long[:480_000])[:32, -1]
    np.testing.assert_allclose(compatible[1], want, atol=3e-5, rtol=0)
    (whole,) = made.encoder("hubert", compat=True)([long])
    np.testing.assert_allclose(
        whole, reference(made, "hubert", long)[:, -1], atol=5e-5, rtol=0
    )


def test_pytorch_runs_what_is_not_ported(tmp_path, rng):
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = tiny_checkpoints.MODELS["hubert"][1]
    config = transformers.AutoConfig.for_model("unispeech-sat", **sizes)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    front_end = frontends.open("hf_speech", weights=tmp_path, backend="torch")
    assert (front_end.spec.width, front_end.spec.frames_per_s) == (32, 50)
    inputs = sounds(rng, 5000, 400)
    want = [
        tiny_checkpoints.states(model, input_values=wav2vec.normalise(x)[None])[:, -1]
        for x in inputs
    ]
    assert_alike(front_end.load()(inputs), want, atol=3e-5)


def test_pytorch_runs_any_text_encoder(made, tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ElectraConfig(
        vocab_size=280,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    model = transformers.ElectraModel(config).eval()
    tiny_checkpoints.byte_pairs(tmp_path)
    model.save_pretrained(tmp_path)
    front_end = frontends.open("hf_text", weights=tmp_path, backend="torch", layer="1")
    assert (front_end.spec.width, front_end.spec.kind) == (32, "text")
    tokenizer = tokens.load(tmp_path)
    inputs = ["so happy", "", "world " * 60]
    got = front_end.load()(inputs)
    assert [len(x) for x in got] == [len(tokenizer(x)["input_ids"]) for x in inputs]
    want = tiny_checkpoints.states(
        model, input_ids=[tokenizer("so happy")["input_ids"]]
    )
    np.testing.assert_allclose(got[0], want[:, 1], atol=3e-5, rtol=0)


def test_weights_of_old_format_run_no_code_in_pytorch_either(made, tmp_path, rng):
    import torch

    folder, model = made.folder("hubert"), made.model("hubert")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    inputs = sounds(rng, 5000)
    got = frontends.open("hubert", weights=tmp_path, backend="torch").load()(inputs)
    assert_alike(got, made.encoder("hubert", backend="torch")(inputs), atol=1e-6)
    torch.save({"code": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="where only tensors may be"):
        frontends.open("hubert", weights=tmp_path, backend="torch").load()


def test_pytorch_is_needed_by_its_backend_alone(made, monkeypatch):
    front_end, folder = made.open("hubert", backend="torch"), made.folder("deberta")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jser\[torch\]"'):
        front_end.load()
    code = (
        "import sys; sys.modules['torch'] = None; from jser.features import frontends; "
        "assert 'jax' not in sys.modules; "
        "encode = frontends.open('deberta', weights=sys.argv[1]).load(); "
        "print([len(x) for x in encode(['', 'so happy'])])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    short, longer = json.loads(subprocess.check_output(command, text=True))
    assert 2 == short < longer


def test_too_short_a_sound_is_refused_before_any_is_encoded(made, rng):
    for name in ("hubert", "whisper"):
        done = []
        with pytest.raises(ValueError, match="399 samples are too few"):
            made.encoder(name)(sounds(rng, 9000, 399), done.append)
        assert not done


def test_the_spec_says_what_made_the_frames(made, tmp_path):
    spec = made.open("wavlm", layer="2", dtype="bfloat16").spec
    assert spec.model == made.folder("wavlm").name
    assert "/" not in spec.model
    assert (spec.layer, spec.dtype, spec.backend) == ("2", "bfloat16", "jax")
    assert (spec.frames_per_s, spec.compat, len(spec.weights)) == (50, False, 16)
    assert json.loads(json.dumps(vars(spec))) == vars(spec)
    whispers = made.open("whisper", compat=True).spec
    assert (whispers.frames_per_s, whispers.compat) == (50, True)
    assert made.open("roberta").spec.frames_per_s == 0
    assert made.open("whisper").spec.context == "full"
    assert made.open("whisper", context="short").spec.context == "short"


def test_another_model_than_the_name_says_is_refused(made):
    folder = made.folder("hubert")
    with pytest.raises(ValueError, match="model_type is 'hubert'; wavlm is 'wavlm'"):
        frontends.open("wavlm", weights=folder)
    with pytest.raises(ValueError, match=r"is 32 wide, hubert_xlarge 1280.*: hubert"):
        frontends.open("hubert_xlarge", weights=folder)
    with pytest.raises(ValueError, match="roberta is 'roberta'"):
        frontends.open("roberta", weights=folder)
    with pytest.raises(ValueError, match=r"32 wide, minilm 384.*: bert"):
        frontends.open("minilm", weights=made.folder("bert"))
    with pytest.raises(ValueError, match="a hubert reads speech, hf_text text"):
        frontends.open("hf_text", weights=folder, backend="torch")
