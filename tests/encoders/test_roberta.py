"""RoBERTa against Hugging Face's in PyTorch, and against itself under padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import roberta, tokens
from tests.helpers import tiny_bert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

PAD = 1
FLAGS = {
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": PAD,
    "layer_norm_eps": 1e-5,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = transformers.RobertaConfig(**tiny_bert.SIZES, **FLAGS)
    model = transformers.RobertaModel(config, add_pooling_layer=True)
    folder = tmp_path_factory.mktemp("roberta")
    tiny_bert.save(model, folder)
    return model, folder


@pytest.fixture(scope="module")
def encoder(checkpoint):
    module, params = roberta.load(checkpoint[1])
    return jax.jit(lambda ids, mask: module.apply(params, ids, mask))


@pytest.mark.parametrize(("lengths", "padded"), [((9, 30, 2, 17), 30), ((512, 3), 530)])
def test_every_layer_equals_pytorch(rng, checkpoint, encoder, lengths, padded):
    ids, mask = tokens.pad(tiny_bert.windows(rng, lengths), PAD, padded)
    got, want = encoder(ids, mask), tiny_bert.states(checkpoint[0], ids, mask)
    assert got.shape == want.shape == (4, *ids.shape, 32)
    # Padding as well: the authors' files hold it.
    np.testing.assert_allclose(got, want, atol=3e-5)


def test_padding_and_company_do_not_matter(rng, encoder):
    windows = tiny_bert.windows(rng, rng.integers(2, 40, 2))
    together = encoder(*tokens.pad(windows, PAD, 530))  # More than it has positions.
    for b, window in enumerate(windows):
        n = len(window)
        alone = encoder(*tokens.pad([window], PAD, n))
        np.testing.assert_allclose(together[:, b, :n], alone[:, 0], atol=2e-5)


def test_the_longest_window_is_the_last_that_has_positions(rng, checkpoint, encoder):
    module, _ = roberta.load(checkpoint[1])
    assert module.max_tokens == 512
    got = encoder(*tokens.pad(tiny_bert.windows(rng, [513, 2]), PAD, 530))
    assert np.isfinite(got[0, 0, :512]).all()
    assert np.isnan(got[0, 0, 512]).all()


def test_bfloat16_is_near_and_returns_float32(rng, checkpoint, encoder):
    module, params = roberta.load(checkpoint[1], dtype=jnp.bfloat16)
    assert params["params"]["blocks"]["down"]["kernel"].dtype == jnp.bfloat16
    assert params["params"]["blocks"]["final_norm"]["scale"].dtype == jnp.float32
    ids, mask = tokens.pad(tiny_bert.windows(rng, [12, 5]), PAD, 12)
    got = jax.jit(module.apply)(params, ids, mask)
    want = encoder(ids, mask)
    assert got.dtype == jnp.float32
    error = np.sqrt(np.mean((got - want)[:, mask] ** 2))
    assert 0 < error / np.sqrt(np.mean(want[:, mask] ** 2)) < 0.03


def test_a_checkpoint_of_the_masked_language_model(tmp_path, checkpoint):
    config = transformers.RobertaConfig(**tiny_bert.SIZES, **FLAGS)
    model = transformers.RobertaForMaskedLM(config)
    model.roberta.load_state_dict(checkpoint[0].state_dict(), strict=False)
    model.save_pretrained(tmp_path)
    names = tiny_bert.load_file(tmp_path / "model.safetensors")
    assert all(name.startswith(("roberta.", "lm_head.")) for name in names)
    ids = {"roberta.embeddings.position_ids": np.arange(514)[None]}
    _, params = roberta.load(tiny_bert.change(tmp_path, tmp_path / "ids", None, ids))
    want = roberta.load(checkpoint[1])[1]
    jax.tree.map(np.testing.assert_array_equal, params, want)


NAME = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({}, {NAME: None}, f"the weights lack {NAME}"),
        ({}, {"adapter.weight": np.zeros(1)}, r"no place for adapter\.weight"),
        ({"num_hidden_layers": 2}, {}, r"no place for encoder\.layer\.2"),
        (
            {},
            {NAME.replace("output", "intermediate"): np.zeros((9, 32))},
            r"intermediate.* has the shape \(9, 32\); by the config it is \(48, 32\)",
        ),
        ({"hidden_act": "relu"}, {}, "hidden_act = 'relu' is not .*, only 'gelu'"),
        ({"pad_token_id": None}, {}, "config.json: lacks pad_token_id"),
        ({"num_attention_heads": 5}, {}, "5 heads do not divide the width 32"),
        ({"model_type": "bert"}, {}, "model_type is 'bert', not one of roberta"),
    ],
)
def test_other_checkpoints_are_refused(checkpoint, tmp_path, config, tensors, message):
    folder = tiny_bert.change(checkpoint[1], tmp_path, config, tensors)
    with pytest.raises(ValueError, match=message):
        roberta.load(folder)
