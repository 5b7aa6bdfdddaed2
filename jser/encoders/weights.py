"""Hugging Face checkpoint folders: their configuration and their tensors, as numpy.

    tensors = Tensors(read_tensors(folder), folder)
    params = {"fc1": tensors.linear("encoder.layers.{}.fc1", layers=32)}
    tensors.finish()

PyTorch is not needed, and no file's code is ever run (`torch_file`).
"""

from collections.abc import Iterator, Sequence
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jser import files
from jser.encoders import torch_file

_INDEX = "model.safetensors.index.json"


def read_config(folder: pathlib.Path, name: str = "config.json") -> dict[str, Any]:
    """One of the JSON files of a checkpoint folder.

    Raises:
      FileNotFoundError: if it is not there, with the command that fetches it.
      ValueError: if it is not a JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(_missing(folder, name))
    config = files.read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not a JSON object. Fetch the file again.")
    return config


def read_tensors(folder: pathlib.Path, pattern: str = "") -> dict[str, np.ndarray]:
    """The tensors of a checkpoint folder by name.

    They are read from `model.safetensors`, else from the shards that
    `model.safetensors.index.json` lists, else from `pytorch_model.bin`.

    Args:
      folder: Where the files lie.
      pattern: Regular expression; names that do not match it from their start are
        not read, which saves the memory of what is not needed.

    Returns:
      Arrays in PyTorch's layout; bfloat16 and float16 have become float32.

    Raises:
      FileNotFoundError: if there are no weights or a shard is missing.
      ValueError: if a file is damaged or holds something else than tensors.
    """
    found = {}
    for path in files_of(folder):
        read = _read_safetensors if path.suffix == ".safetensors" else torch_file.read
        for name, x in read(path, re.compile(pattern)):
            half = x.dtype in (np.float16, jnp.bfloat16)
            found[name] = x.astype(np.float32) if half else x
    return found


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The weight files that `read_tensors` reads.

    Raises:
      FileNotFoundError: if there are none or a shard is missing.
    """
    names = ["model.safetensors"]
    if not (folder / names[0]).is_file():
        if (folder / _INDEX).is_file():
            names = sorted(set(read_config(folder, _INDEX)["weight_map"].values()))
        elif (folder / "pytorch_model.bin").is_file():
            names = ["pytorch_model.bin"]
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(_missing(folder, name))
    return [folder / name for name in names]


def digest(folder: pathlib.Path, names: Sequence[str] = ()) -> str:
    """16 hex digits that name the bytes of the weight files.

    They are those `read_tensors` reads, unless their names are given.
    """
    paths = [folder / name for name in names] or files_of(folder)
    return files.digest(*(files.file_digest(path) for path in paths))


class Tensors:
    """Tensors by name, each given out once, as Flax parameters.

    A name may hold `{}`, the number of a layer; then `layers` says how many there are
    and they come stacked on a new first axis, as `nn.scan` wants them.

    Attributes:
      dtype: Of matrix kernels; everything else is float32.
    """

    def __init__(
        self, tensors: dict[str, np.ndarray], source: pathlib.Path, dtype=jnp.float32
    ):
        self._left, self._source, self.dtype = dict(tensors), source, dtype

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, layers: int = 0) -> np.ndarray:
        """The tensor as it was stored; the memory of single layers is let go.

        Raises:
          ValueError: if it is missing, with the names that are.
        """
        names = [name.format(i) for i in range(layers)] if layers else [name]
        if missing := [n for n in names if n not in self._left]:
            raise ValueError(
                f"{self._source}: the weights lack {_some(missing)}. They are of"
                " another model than config.json says, or not fetched whole."
            )
        taken = [self._left.pop(n) for n in names]
        return np.stack(taken) if layers else taken[0]

    def array(self, name: str, layers: int = 0) -> jax.Array:
        """The tensor, float32."""
        return jnp.asarray(self.take(name, layers), jnp.float32)

    def linear(
        self, name: str, layers: int = 0, bias: bool = True
    ) -> dict[str, jax.Array]:
        """Parameters of an `nn.Dense`."""
        kernel = self.take(f"{name}.weight", layers).swapaxes(-1, -2)
        return self._with_bias(kernel, name, layers, bias)

    def conv(self, name: str, bias: bool = True) -> dict[str, jax.Array]:
        """Parameters of an `nn.Conv` over time; weight normalisation is folded in."""
        for magnitude, direction in (
            ("weight_g", "weight_v"),
            ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        ):
            if f"{name}.{magnitude}" in self:
                g = self.take(f"{name}.{magnitude}")
                v = self.take(f"{name}.{direction}")
                axes = tuple(axis for axis, size in enumerate(g.shape) if size == 1)
                kernel = v * (g / np.sqrt(np.square(v).sum(axes, keepdims=True)))
                break
        else:
            kernel = self.take(f"{name}.weight")
        return self._with_bias(kernel.transpose(2, 1, 0), name, 0, bias)

    def norm(self, name: str, layers: int = 0) -> dict[str, jax.Array]:
        """Parameters of an `nn.LayerNorm`."""
        scale = self.array(f"{name}.weight", layers)
        return {"scale": scale, "bias": self.array(f"{name}.bias", layers)}

    def finish(self) -> None:
        """Raises ValueError, with the names, if tensors are left that nobody took."""
        if self._left:
            raise ValueError(
                f"{self._source}: no place for {_some(sorted(self._left))}. This kind"
                " of model is not supported."
            )

    def _with_bias(self, kernel, name, layers, bias) -> dict[str, jax.Array]:
        params = {"kernel": jnp.asarray(kernel, self.dtype)}
        return params | ({"bias": self.array(f"{name}.bias", layers)} if bias else {})


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _missing(folder: pathlib.Path, name: str) -> str:
    return (
        f"{folder / name}: no such file. Fetch the whole checkpoint:"
        f" hf download <owner>/<model> --local-dir {folder}"
    )


def _read_safetensors(
    path: pathlib.Path, pattern: re.Pattern
) -> Iterator[tuple[str, np.ndarray]]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as f:
            for name in f.keys():  # noqa: SIM118, it is no dictionary.
                if pattern.match(name):
                    yield name, f.get_tensor(name)
    except safetensors.SafetensorError as e:
        raise ValueError(f"{path}: damaged ({e!r}). Fetch it again.") from e
