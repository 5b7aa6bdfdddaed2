"""DeBERTa v2 and v3 against Hugging Face's in PyTorch, and themselves under padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser.encoders import deberta, tokens
from tests.helpers import tiny_bert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

PAD = 0
V3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "max_relative_positions": -1,
    "max_position_embeddings": 512,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pad_token_id": PAD,
    "layer_norm_eps": 1e-7,
}
V2 = V3 | {"conv_kernel_size": 3, "conv_act": "gelu"}
KINDS = {"v2_xxlarge": V2, "v3_base": V3}


def make(flags, folder):
    config = transformers.DebertaV2Config(**tiny_bert.SIZES, **flags)
    model = transformers.DebertaV2Model(config)
    tiny_bert.save(model, folder)
    return model, folder


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request, tmp_path_factory):
    return make(KINDS[request.param], tmp_path_factory.mktemp("deberta"))


@pytest.fixture(scope="module")
def v2(tmp_path_factory):
    return make(V2, tmp_path_factory.mktemp("v2"))


@pytest.fixture(scope="module")
def encoder(checkpoint):
    module, params = deberta.load(checkpoint[1])
    return jax.jit(lambda ids, mask: module.apply(params, ids, mask))


@pytest.mark.parametrize("lengths", [(9, 30, 2, 17), (400, 3)])
def test_every_layer_equals_pytorch(rng, checkpoint, encoder, lengths):
    ids, mask = tokens.pad(tiny_bert.windows(rng, lengths), PAD, max(lengths))
    got, want = encoder(ids, mask), tiny_bert.states(checkpoint[0], ids, mask)
    assert got.shape == want.shape == (4, *ids.shape, 32)
    # Padding as well: the authors' files hold it.
    np.testing.assert_allclose(got, want, atol=3e-5)


def test_few_buckets_equal_pytorch(rng, tmp_path):
    few = {"position_buckets": 8, "max_position_embeddings": 24}
    model, folder = make(V2 | few, tmp_path)
    module, params = deberta.load(folder)
    ids, mask = tokens.pad(tiny_bert.windows(rng, [40, 13]), PAD, 40)
    got = jax.jit(module.apply)(params, ids, mask)
    np.testing.assert_allclose(got, tiny_bert.states(model, ids, mask), atol=3e-5)


def test_padding_and_company_do_not_matter(rng, encoder):
    windows = tiny_bert.windows(rng, rng.integers(2, 40, 2))
    together = encoder(*tokens.pad(windows, PAD, 400))  # More than the 256 buckets.
    for b, window in enumerate(windows):
        n = len(window)
        alone = encoder(*tokens.pad([window], PAD, n))
        np.testing.assert_allclose(together[:, b, :n], alone[:, 0], atol=2e-5)


@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (8, 24), (32, 128)])
def test_buckets_equal_pytorch(buckets, farthest):
    from transformers.models.deberta_v2 import modeling_deberta_v2 as theirs

    distance = np.arange(-1100, 1101)
    want = theirs.make_log_bucket_position(torch.tensor(distance), buckets, farthest)
    got = deberta.bucket(distance, buckets, farthest)
    np.testing.assert_array_equal(got, want.numpy().astype(int))


@pytest.mark.parametrize("S", [1, 2, 5])
def test_by_distance_is_a_gather(rng, S):
    x = rng.standard_normal((2, 3, S, 2 * S)).astype(np.float32)
    query, key = np.mgrid[:S, :S]
    np.testing.assert_array_equal(
        deberta.by_distance(x), x[:, :, query, S - 1 - query + key]
    )


def test_bfloat16_is_near_and_returns_float32(rng, v2):
    model, folder = v2
    module, params = deberta.load(folder, dtype=jnp.bfloat16)
    assert (
        params["params"]["blocks"]["attention"]["query"]["kernel"].dtype == jnp.bfloat16
    )
    ids, mask = tokens.pad(tiny_bert.windows(rng, [12, 5]), PAD, 12)
    got = jax.jit(module.apply)(params, ids, mask)
    want = tiny_bert.states(model, ids, mask)
    assert got.dtype == jnp.float32
    error = np.sqrt(np.mean((got - want)[:, mask] ** 2))
    assert 0 < error / np.sqrt(np.mean(want[:, mask] ** 2)) < 0.03


def test_heads_of_pre_training_are_left_out(v2, tmp_path):
    tensors = tiny_bert.load_file(v2[1] / "model.safetensors")
    whole = {name: None for name in tensors}
    whole |= {f"deberta.{name}": tensor for name, tensor in tensors.items()} | {
        "deberta.embeddings.position_embeddings.weight": np.zeros((512, 32)),
        "deberta.embeddings.position_ids": np.arange(512)[None],
        "lm_predictions.lm_head.dense.weight": np.zeros((32, 32)),
        "mask_predictions.dense.weight": np.zeros((32, 32)),
        "cls.predictions.bias": np.zeros(tiny_bert.VOCAB),
    }
    _, params = deberta.load(tiny_bert.change(v2[1], tmp_path, None, whole))
    want = deberta.load(v2[1])[1]
    jax.tree.map(np.testing.assert_array_equal, params, want)


RELATIVE = "encoder.rel_embeddings.weight"


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"share_att_key": False}, {}, "share_att_key = False is not supported"),
        ({"norm_rel_ebd": "none"}, {}, "norm_rel_ebd = 'none' is not supported"),
        ({"type_vocab_size": 2}, {}, "type_vocab_size = 2 is not supported"),
        ({"pos_att_type": ["c2p"]}, {}, r"pos_att_type = \['c2p'\] is not supported"),
        ({"conv_act": "tanh"}, {}, "conv_act = 'tanh' is not supported"),
        ({"position_buckets": -1}, {}, "position_buckets = -1 is not supported"),
        ({"num_hidden_layers": 1}, {}, "num_hidden_layers = 1 is not supported"),
        ({"position_buckets": None}, {}, "config.json: lacks position_buckets"),
        ({}, {RELATIVE: None}, f"the weights lack {RELATIVE}"),
        ({"num_hidden_layers": 2}, {}, r"no place for encoder\.layer\.2"),
    ],
)
def test_other_checkpoints_are_refused(v2, tmp_path, config, tensors, message):
    folder = tiny_bert.change(v2[1], tmp_path, config, tensors)
    with pytest.raises(ValueError, match=message):
        deberta.load(folder)


@pytest.mark.parametrize("layer", ["0", "1"])
def test_blocks_that_do_not_run_have_no_parameters(rng, v2, layer):
    ids, mask = tokens.pad(tiny_bert.windows(rng, [9, 4]), PAD, 9)
    module, variables = deberta.load(v2[1], layer)
    assert "blocks" not in variables["params"]
    got = jax.jit(module.apply)(variables, ids, mask)
    want = tiny_bert.states(v2[0], ids, mask)[int(layer)]
    np.testing.assert_allclose(got, want, atol=3e-5)
