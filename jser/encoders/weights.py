"""Hugging Face checkpoint folders: their configuration and their tensors, as numpy.

PyTorch is not needed, and no file's code is ever run (`torch_file`).
"""

from collections.abc import Iterator, Sequence
import pathlib
import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from jser import files
from jser.encoders import torch_file

FETCH = "Fetch the file again."
_INDEX = "model.safetensors.index.json"
_DTYPES = (
    *("F64", "F32", "F16", "BF16"),
    *("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"),
)


def read_config(folder: pathlib.Path, name: str = "config.json") -> dict[str, Any]:
    """One of the JSON files of a checkpoint folder.

    Raises:
      FileNotFoundError: if it is not there, with the command that fetches it.
      ValueError: if it is not a JSON object.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(_missing(folder, name))
    config = files.read_json(path, FETCH)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not a JSON object. {FETCH}")
    return config


def read_tensors(
    folder: pathlib.Path, pattern: str = "", names: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint folder by name.

    They are read from `model.safetensors`, else from the shards that
    `model.safetensors.index.json` lists, else from `pytorch_model.bin`.

    Args:
      folder: Where the files lie.
      pattern: Regular expression; names that do not match it from their start are
        not read, which saves the memory of what is not needed.
      names: Of the files, in place of those.

    Returns:
      Arrays in PyTorch's layout; bfloat16 and float16 have become float32.

    Raises:
      FileNotFoundError: if there are no weights or a shard is missing.
      ValueError: if a file is damaged or holds something else than tensors.
    """
    tensors = {}
    for path in [folder / name for name in names] or files_of(folder):
        read = _read_safetensors if path.suffix == ".safetensors" else torch_file.read
        for name, x in read(path, re.compile(pattern)):
            half = x.dtype in (np.float16, jnp.bfloat16)
            tensors[name] = x.astype(np.float32) if half else x
    return tensors


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The weight files that `read_tensors` reads.

    Raises:
      FileNotFoundError: if there are none or a shard is missing.
    """
    names = ["model.safetensors"]
    if not (folder / names[0]).is_file():
        if (folder / _INDEX).is_file():
            names = _indexed(folder)
        elif (folder / "pytorch_model.bin").is_file():
            names = ["pytorch_model.bin"]
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(_missing(folder, name))
    return [folder / name for name in names]


def _indexed(folder: pathlib.Path) -> list[str]:
    """The shards of the index; all lie in its folder."""
    index = read_config(folder, _INDEX)
    with files.reading(folder / _INDEX, FETCH):
        files.expect(index, {"weight_map": dict})
        shard_of = index["weight_map"]
        files.expect(shard_of, dict.fromkeys(shard_of, str))
        names = sorted(set(shard_of.values()))
        if not names:
            raise ValueError("its weight_map is empty")
        for name in names:
            if not name.endswith(".safetensors") or set(name) & {"/", "\\", "\0"}:
                raise ValueError(f"{name!r:.80} is no .safetensors file beside it")
    return names


def digest(folder: pathlib.Path, names: Sequence[str] = ()) -> str:
    """16 hex digits that name the bytes of the weight files.

    They are those `read_tensors` reads, unless their names are given.
    """
    paths = [folder / name for name in names] or files_of(folder)
    return files.digest(*(files.file_digest(path) for path in paths))


def values_digest(
    folder: pathlib.Path, model_type: str, names: Sequence[str] = ()
) -> str:
    """16 hex digits that name an encoder's numbers, whatever file they come in.

    A checkpoint in float16 and in float32, or as safetensors and as PyTorch's own, has
    the same: numbers count as float16 rounds them. Of Whisper the encoder counts alone.
    The files are those `read_tensors` reads, unless their names are given.
    """
    pattern = r"(model\.)?encoder\." if model_type == "whisper" else ""
    cut, lines = re.compile(pattern), []
    for part in [(name,) for name in names] or [()]:  # Files may share names.
        for name, x in read_tensors(folder, pattern, part).items():
            with np.errstate(over="ignore"):
                half = np.ascontiguousarray(x.astype(np.float16))
            name = cut.sub("", name, count=1)
            lines.append(files.digest(*part, name, repr(half.shape), half.tobytes()))
    return files.digest(*sorted(lines))


def _missing(folder: pathlib.Path, name: str) -> str:
    return (
        f"{folder / name}: no such file. Fetch the whole checkpoint:"
        f" hf download <owner>/<model> --local-dir {folder}"
    )


def _read_safetensors(
    path: pathlib.Path, pattern: re.Pattern
) -> Iterator[tuple[str, np.ndarray]]:
    import safetensors

    with (
        files.reading(path, FETCH),
        safetensors.safe_open(path, framework="np") as f,
    ):
        for name in f.keys():  # noqa: SIM118, it is no dictionary.
            if not pattern.match(name):
                continue
            if (dtype := f.get_slice(name).get_dtype()) not in _DTYPES:
                raise ValueError(
                    f"{path}: {name!r:.80} is of type {dtype}, and only"
                    f" {', '.join(_DTYPES)} are read. Fetch another precision."
                )
            yield name, f.get_tensor(name)
