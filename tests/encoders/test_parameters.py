"""Checkpoints' tensors into parameters, by a module made for it."""

import pathlib

from flax import linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jser.encoders import layer_selection, parameters

NAMES = {
    "conv_{}": "stem.{}.conv",
    "place": "place.table",
    "norm": "end.norm",
    "blocks/up": "layer.{}.fc1",
    "blocks/qkv/kernel": "layer.{}.in_proj_weight",
}
SOURCE = pathlib.Path("folder")


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="up")(nn.Dense(4, use_bias=False, name="qkv")(x))


class Encoder(nn.Module):
    layer: str = "all"

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3,), name="conv_0")(x)
        x = nn.Dense(4, name="same.name")(x)
        x = x + self.param("place", nn.initializers.zeros, (4,))
        norm = nn.LayerNorm(name="norm")
        block = Block(name="blocks")
        return layer_selection.run(block, [x], layers=3, layer=self.layer, norm=norm)


EXAMPLE = (np.zeros((1, 5, 2), np.float32),)


@pytest.fixture
def tensors(rng) -> dict[str, np.ndarray]:
    shapes = {
        **{"stem.0.conv.weight": (6, 2, 3), "stem.0.conv.bias": (6,)},
        **{"same.name.weight": (4, 6), "same.name.bias": (4,), "place.table": (4,)},
        **{"end.norm.weight": (4,), "end.norm.bias": (4,)},
        **{f"layer.{i}.fc1.weight": (4, 4) for i in range(3)},
        **{f"layer.{i}.fc1.bias": (4,) for i in range(3)},
        **{f"layer.{i}.in_proj_weight": (4, 4) for i in range(3)},
    }
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def load(folder, tensors, layer="all", dtype=jnp.float32):
    named = {f"model.{name}": x for name, x in tensors.items()}
    save_file(named | {"head.weight": np.zeros(1)}, folder / "model.safetensors")
    return parameters.load(
        Encoder(layer), EXAMPLE, folder, NAMES, pattern=r"model\.", dtype=dtype
    )["params"]


def test_every_kind_of_parameter_is_where_the_module_wants_it(tmp_path, tensors):
    got = load(tmp_path, tensors)
    conv, stack = got["conv_0"], got["blocks"]
    want = tensors["stem.0.conv.weight"].transpose(2, 1, 0)
    np.testing.assert_array_equal(conv["kernel"], want)
    np.testing.assert_array_equal(got["place"], tensors["place.table"])
    np.testing.assert_array_equal(got["norm"]["scale"], tensors["end.norm.weight"])
    want = tensors["same.name.weight"].T
    np.testing.assert_array_equal(got["same.name"]["kernel"], want)
    for i in range(3):
        want = tensors[f"layer.{i}.fc1.weight"].T
        np.testing.assert_array_equal(stack["up"]["kernel"][i], want)
        np.testing.assert_array_equal(
            stack["qkv"]["kernel"][i], tensors[f"layer.{i}.in_proj_weight"].T
        )


def test_blocks_that_do_not_run_are_not_loaded_but_known(tmp_path, tensors):
    assert len(load(tmp_path, tensors, "2")["blocks"]["up"]["bias"]) == 2
    assert "blocks" not in load(tmp_path, tensors, "0")
    with pytest.raises(ValueError, match=r"no place for layer\.3\.fc1\.bias"):
        load(tmp_path, tensors | {"layer.3.fc1.bias": np.zeros(4)}, "2")


def test_kernels_alone_are_cast(tmp_path, tensors):
    got = load(tmp_path, tensors, dtype=jnp.bfloat16)
    assert got["blocks"]["up"]["kernel"].dtype == jnp.bfloat16
    assert got["blocks"]["up"]["bias"].dtype == jnp.float32
    assert got["place"].dtype == jnp.float32


def test_missing_left_over_and_misshapen_tensors_are_named(tmp_path, tensors):
    names = [f"layer.{i}.fc1.bias" for i in range(3)]
    lacking = {k: v for k, v in tensors.items() if k not in names}
    with pytest.raises(ValueError, match=rf"{tmp_path}: .* lack {', '.join(names)}\."):
        load(tmp_path, lacking)
    more = {f"adapter.{i}": np.zeros(1) for i in range(6)}
    with pytest.raises(ValueError, match=r"no place for adapter\.0, .* and 2 more"):
        load(tmp_path, tensors | more)
    other = {"same.name.weight": np.zeros((4, 7), np.float32)}
    with pytest.raises(ValueError, match=r"same.* shape \(4, 7\); .* is \(4, 6\)"):
        load(tmp_path, tensors | other)


def test_weight_norm_is_folded_in_old_names_and_new():
    torch = pytest.importorskip("torch")
    for dim in (0, 2):
        conv = torch.nn.Conv1d(4, 6, 3)
        conv = torch.nn.utils.parametrizations.weight_norm(conv, dim=dim)
        new = {f"c.{name}": x.detach().numpy() for name, x in conv.state_dict().items()}
        g, v = (new[f"c.parametrizations.weight.original{i}"] for i in (0, 1))
        for state in (new, {"c.bias": new["c.bias"], "c.weight_g": g, "c.weight_v": v}):
            lacking = {k: x for k, x in state.items() if x is not g}
            parameters.fold_weight_norm(state, SOURCE)
            assert state.keys() == {"c.weight", "c.bias"}
            want = conv.weight.detach().numpy()
            np.testing.assert_allclose(state["c.weight"], want, atol=1e-6)
            with pytest.raises(ValueError, match=r"^folder: .* lack c\.\w+"):
                parameters.fold_weight_norm(lacking, SOURCE)
