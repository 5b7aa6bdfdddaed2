"""BERT against Hugging Face's in PyTorch, against itself, and with real weights."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jser import encoders
from jser.encoders import bert, tokens
from tests.helpers import tiny_bert, tiny_checkpoints

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

PAD = 0
FLAGS = {"max_position_embeddings": 512, "pad_token_id": PAD}
MINILM = os.environ.get("JSER_MINILM", "")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = transformers.BertModel(transformers.BertConfig(**tiny_bert.SIZES, **FLAGS))
    folder = tmp_path_factory.mktemp("bert")
    tiny_bert.save(model, folder)
    return model, folder


@pytest.fixture(scope="module")
def encoder(checkpoint):
    module, variables = bert.load(checkpoint[1])
    return jax.jit(lambda ids, mask: module.apply(variables, ids, mask))


@pytest.mark.parametrize("lengths", [(9, 30, 2, 17), (512, 3)])
def test_every_layer_equals_pytorch(rng, checkpoint, encoder, lengths):
    ids, mask = tokens.pad(tiny_bert.windows(rng, lengths), PAD, max(lengths))
    got, want = encoder(ids, mask), tiny_bert.states(checkpoint[0], ids, mask)
    assert got.shape == want.shape == (4, *ids.shape, 32)
    # Padding as well: reference-compatible files hold it.
    np.testing.assert_allclose(got, want, atol=3e-5)


def test_padding_and_company_do_not_matter(rng, encoder):
    windows = tiny_bert.windows(rng, (*rng.integers(2, 40, 2), 512))
    together = encoder(*tokens.pad(windows, PAD, 530))  # More than it has positions.
    for b, window in enumerate(windows):
        n = len(window)
        alone = encoder(*tokens.pad([window], PAD, n))
        np.testing.assert_allclose(together[:, b, :n], alone[:, 0], atol=2e-5)


def test_bfloat16_is_near_and_returns_float32(rng, checkpoint, encoder):
    module, variables = bert.load(checkpoint[1], dtype=jnp.bfloat16)
    assert variables["params"]["blocks"]["down"]["kernel"].dtype == jnp.bfloat16
    ids, mask = tokens.pad(tiny_bert.windows(rng, [12, 5]), PAD, 12)
    got, want = jax.jit(module.apply)(variables, ids, mask), encoder(ids, mask)
    assert got.dtype == jnp.float32
    error = np.sqrt(np.mean((got - want)[:, mask] ** 2))
    assert 0 < error / np.sqrt(np.mean(want[:, mask] ** 2)) < 0.03


def test_a_checkpoint_with_heads(tmp_path, checkpoint):
    model = transformers.BertForPreTraining(checkpoint[0].config)
    model.bert.load_state_dict(checkpoint[0].state_dict())
    model.save_pretrained(tmp_path)
    names = tiny_bert.load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {"bert", "cls"}
    (_, got), (_, want) = bert.load(tmp_path), bert.load(checkpoint[1])
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', not one of bert"),
        ({"is_decoder": True}, "is_decoder = True is not supported, only False"),
        ({"position_embedding_type": "relative_key"}, "only 'absolute'"),
        ({"num_hidden_layers": 4}, r"lack encoder\.layer\.3\."),
    ],
)
def test_other_checkpoints_are_refused(checkpoint, tmp_path, config, message):
    folder = tiny_bert.change(checkpoint[1], tmp_path, config)
    with pytest.raises(ValueError, match=message):
        bert.load(folder)


@pytest.mark.skipif(
    not MINILM, reason="JSER_MINILM names no folder of all-MiniLM-L6-v2"
)
def test_real_weights_equal_pytorch_in_every_layer():
    folder = pathlib.Path(MINILM)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = tokens.load(folder)
    texts = (*tiny_checkpoints.WORDS, "", "I can't believe it!", "so happy 😀 today")
    long = "that is what I mean " * 140
    encode = encoders.load(folder, layer="all")
    *got, windows = encode([*texts, long])
    for text, frames in zip(texts, got, strict=True):
        ids = tokenizer(text)["input_ids"]
        want = tiny_checkpoints.states(model, input_ids=[ids])
        np.testing.assert_allclose(frames, want, atol=3e-5)
    assert len(windows) == len(tokenizer(long)["input_ids"]) > 512
    (in_torch,) = encoders.load(folder, layer="all", backend="torch")([long])
    np.testing.assert_allclose(windows, in_torch, atol=3e-5)
