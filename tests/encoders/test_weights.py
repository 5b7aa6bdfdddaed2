"""Checkpoint folders: every format gives the same tensors, and no code is run."""

import collections
import json
import pathlib
import re
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from jser.encoders import weights

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow


@pytest.fixture
def state():
    torch.manual_seed(0)
    conv = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(4, 6, 3), dim=2)
    big = torch.arange(24.0).reshape(4, 6)
    return {
        "linear.weight": big.T,  # Shares its storage, and is not contiguous.
        "linear.bias": big[1],
        "half": big.half(),
        "brain": big.bfloat16() / 7,
        "count": torch.tensor(3),
        "none": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        **{f"conv.{name}": x for name, x in conv.state_dict().items()},
    }


def as_float(state):
    plain = {name: x.detach() for name, x in state.items()}
    half = (torch.float16, torch.bfloat16)
    return {n: (x.float() if x.dtype in half else x).numpy() for n, x in plain.items()}


def in_safetensors(folder, state):
    from safetensors.torch import save_file

    contiguous = {n: x.detach().clone().contiguous() for n, x in state.items()}
    save_file(contiguous, folder / "model.safetensors")


def in_shards(folder, state):
    from safetensors.torch import save_file

    shard_of = {n: f"model-{i % 2 + 1}.safetensors" for i, n in enumerate(state)}
    for shard in set(shard_of.values()):
        part = {n: x.detach().clone() for n, x in state.items() if shard_of[n] == shard}
        save_file({n: x.contiguous() for n, x in part.items()}, folder / shard)
    index = json.dumps({"metadata": {}, "weight_map": shard_of})
    (folder / "model.safetensors.index.json").write_text(index)


def in_bin(folder, state):
    ordered = collections.OrderedDict(state)
    ordered._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(ordered, folder / "pytorch_model.bin")


@pytest.mark.parametrize("write", [in_safetensors, in_shards, in_bin])
def test_every_format_gives_the_same_tensors(tmp_path, state, write):
    write(tmp_path, state)
    got, want = weights.read_tensors(tmp_path), as_float(state)
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype
        np.testing.assert_array_equal(got[name], want[name])
    conv = weights.read_tensors(tmp_path, r"conv\.")
    assert set(conv) == {name for name in state if name.startswith("conv")}


def test_what_only_pretends_to_be_tensors_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Code:
        def __reduce__(self):
            return pathlib.Path.touch, (pathlib.Path("it_ran"),)

    path = tmp_path / "pytorch_model.bin"
    refused = (
        {"w": torch.ones(2), "evil": Code()},
        {"w": torch.ones(2), "step": 3},
        {"w": torch.ones(2), "nested": {"w": torch.ones(2)}},
        [torch.ones(2)],
        torch.nn.Linear(2, 2),
    )
    for content in refused:
        torch.save(content, path)
        with pytest.raises(ValueError, match=re.escape(f"{path}: holds")):
            weights.read_tensors(tmp_path)
    assert not (tmp_path / "it_ran").exists()


def rewrite(path, change):
    """Passes the parts of a PyTorch file through `change`."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    for damage in (
        lambda name, data: data[:-4] if name.endswith("data/0") else data,
        lambda name, data: data[:-9] if name.endswith("data.pkl") else data,
    ):
        torch.save({"w": torch.ones(2, 3)}, path)
        rewrite(path, damage)
        with pytest.raises(ValueError, match=re.escape(f"{path}: damaged")):
            weights.read_tensors(tmp_path)
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(
        ValueError, match=r"pytorch_model\.bin: .*older than PyTorch 1.6"
    ):
        weights.read_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        weights.read_tensors(tmp_path)


def test_missing_files_come_with_the_command_that_fetches_them(tmp_path, state):
    with pytest.raises(FileNotFoundError, match=r"config\.json.*hf download"):
        weights.read_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors.*hf download"):
        weights.read_tensors(tmp_path)
    in_shards(tmp_path, state)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2\.safetensors"):
        weights.read_tensors(tmp_path)


def test_digest_follows_the_bytes(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.ones(2, np.float32)}, path)
    first = weights.digest(tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", first)
    save_file({"w": np.zeros(2, np.float32)}, path)
    assert weights.digest(tmp_path) != first
