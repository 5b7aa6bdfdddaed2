"""Adapters of every family: what they change, and what they are on disk."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jser import encoders
from jser.encoders import families
from jser.encoders.options import Options
from jser.training import adapter_files, lora
from tests.helpers import tiny_checkpoints

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NAMES = ("wavlm", "hubert", "whisper", "bert", "roberta", "deberta")
RECIPE = lora.Recipe(rank=4, alpha=8)


class Case:
    """A tiny checkpoint and a random adapter of it."""

    def __init__(self, name, folder):
        torch.set_num_threads(1)  # More of them would only wait for each other.
        self.torch = tiny_checkpoints.make(name, folder)
        self.folder = folder
        family = families.FAMILIES[tiny_checkpoints.MODELS[name][0]]
        self.naming = family.naming
        self.processor, self.module, self.variables = family.parts(
            folder, Options(layer="all")
        )
        self.params = self.variables["params"]
        rng = np.random.default_rng(0)
        fresh = lora.init(RECIPE, self.params, jax.random.key(0))
        self.adapter = jax.tree.map(
            lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape), jnp.float32),
            fresh,
        )
        sound = (0.1 * rng.standard_normal(5000)).astype(np.float32)
        self.input = "so happy today" if family.kind == "text" else sound
        (self.window,) = self.processor.cut(self.input)
        padded = self.processor.padded(self.window.frames)
        self.arguments = self.processor.batch([self.window], padded)

    def states(self, variables, adapter=None):
        """Of the utterance's own frames, [T, L + 1, D]."""
        if adapter is None:
            made = jax.jit(self.module.apply)(variables, *self.arguments)
        else:
            call = jax.jit(lora.apply, static_argnums=0)
            made = call(self.module, variables, adapter, *self.arguments)
        made = made[0] if isinstance(made, tuple) else made
        return np.asarray(made)[:, 0, self.window.keep].swapaxes(0, 1)

    def write(self, folder):
        base = str(self.folder)
        adapter_files.write(folder, self.adapter, self.params, self.naming, base)
        return folder

    def read(self, folder):
        return adapter_files.read(folder, self.params, self.naming)


@pytest.fixture(params=NAMES)
def case(request, tmp_path):
    return Case(request.param, tmp_path / "base")


@pytest.fixture
def wavlm(tmp_path):
    return Case("wavlm", tmp_path / "base")


def assert_close(got, want, atol=1e-5):
    np.testing.assert_allclose(got, want, atol=atol, rtol=0)


@pytest.mark.slow
def test_a_fresh_adapter_changes_nothing_and_a_merged_one_as_much(case):
    plain = case.states(case.variables)
    fresh = lora.init(RECIPE, case.params, jax.random.key(1))
    np.testing.assert_array_equal(case.states(case.variables, fresh), plain)
    adapted = case.states(case.variables, case.adapter)
    L = tiny_checkpoints.LAYERS
    np.testing.assert_array_equal(adapted[:, : L // 2 + 1], plain[:, : L // 2 + 1])
    assert np.abs(adapted[:, -1] - plain[:, -1]).max() > 0.05
    assert_close(case.states(lora.merge(case.variables, case.adapter)), adapted)


@pytest.mark.slow
def test_on_disk_it_stays_the_same_and_merged_any_library_reads_it(case, tmp_path):
    back = case.read(case.write(tmp_path / "adapter"))
    jax.tree.map(np.testing.assert_array_equal, back, case.adapter)
    merged = tmp_path / "merged"
    adapter_files.write_merged(
        merged, case.adapter, case.params, case.naming, case.folder
    )
    model = transformers.AutoModel.from_pretrained(merged).eval()
    want = tiny_checkpoints.reference(model, merged, case.input)
    assert_close(case.states(case.variables, case.adapter), want)
    (frames,) = encoders.load(merged, layer="all")([case.input])
    assert_close(frames, want)


@pytest.mark.slow
def test_peft_merges_it_to_the_same_states(case, tmp_path):
    peft = pytest.importorskip("peft", reason="pip install --no-deps peft accelerate")
    folder = case.write(tmp_path / "adapter")
    model = peft.PeftModel.from_pretrained(case.torch, folder)
    model.save_pretrained(tmp_path / "theirs")
    theirs = case.read(tmp_path / "theirs")
    jax.tree.map(np.testing.assert_array_equal, theirs, case.adapter)
    merged = model.merge_and_unload().eval()
    want = tiny_checkpoints.reference(merged, case.folder, case.input)
    assert_close(case.states(case.variables, case.adapter), want)
    assert_close(case.states(lora.merge(case.variables, case.adapter)), want)


def test_targets_share_and_rank_make_the_shapes(wavlm):
    recipe = lora.Recipe(rank=2, targets=".*query|projection", upper=1.0)
    factors = lora.init(recipe, wavlm.params, jax.random.key(0)).factors
    assert jax.tree.map(jnp.shape, factors) == {
        "blocks": {"attention": {"query": {"a": (3, 32, 2), "b": (3, 2, 32)}}},
        "projection": {"a": (16, 2), "b": (2, 32)},
    }
    with pytest.raises(ValueError, match=r"targets='fc1' is none of .*blocks/up"):
        lora.init(lora.Recipe(targets="fc1"), wavlm.params, jax.random.key(0))
    with pytest.raises(ValueError, match="rank=0 must be at least 1"):
        lora.Recipe(rank=0)
    with pytest.raises(ValueError, match=r"upper=0\.0 must be above 0"):
        lora.Recipe(upper=0.0)


def test_blocks_without_matrices_of_their_own_are_not_adapted(wavlm, tmp_path):
    folder = wavlm.write(tmp_path / "adapter")
    tensors = load_file(folder / adapter_files.WEIGHTS)
    kept = {k: x for k, x in tensors.items() if ".layers.1." in k}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, folder / adapter_files.WEIGHTS)
    up = wavlm.read(folder).factors["blocks"]["up"]
    np.testing.assert_array_equal(
        up["a"][0], wavlm.adapter.factors["blocks"]["up"]["a"][0]
    )
    assert not up["a"][1].any()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type = 'LOHA' is not supported, only 'LORA'"),
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"rank_pattern": {"up": 2}}, "rank_pattern is not supported"),
        ({"r": "4"}, "r is a str"),
        ({"r": 0}, "r is not at least 1"),
        ({"r": 8}, r"lora_A.weight has the shape \(4, \d+\); for this encoder it is"),
    ],
)
def test_another_kind_of_adapter_is_one_line(wavlm, tmp_path, config, message):
    path = wavlm.write(tmp_path / "adapter") / adapter_files.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    with pytest.raises(ValueError, match=message) as told:
        wavlm.read(path.parent)
    assert str(told.value).startswith(str(path.parent))
    assert "\n" not in str(told.value)


def test_a_foreign_a_cut_and_a_missing_adapter_are_one_line(wavlm, tmp_path):
    folder = wavlm.write(tmp_path / "adapter")
    path = folder / adapter_files.WEIGHTS
    whole, tensors = path.read_bytes(), load_file(path)
    foreign = {k.replace("feed_forward", "mlp"): x for k, x in tensors.items()}
    halves = {k: x for k, x in tensors.items() if "lora_B" not in k}
    for content, message in (
        (foreign, "no place for base_model|no place for encoder.layers.1.mlp"),
        (halves, r"lacks encoder\.layers\.1\.feed_forward\.\w+\.lora_B\.weight"),
        ({}, "empty. The adapter is of another model"),
    ):
        save_file(content, path)
        with pytest.raises(ValueError, match=message) as told:
            wavlm.read(folder)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)
    for n in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="damaged") as told:
            wavlm.read(folder)
        assert str(told.value).startswith(str(path))
        assert "\n" not in str(told.value)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=adapter_files.WEIGHTS):
        wavlm.read(folder)
