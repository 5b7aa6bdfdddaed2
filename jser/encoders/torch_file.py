"""Files that `torch.save` wrote, read without PyTorch and without running their code.

The file is a zip of raw storages and a pickle that describes the tensors in them. The
pickle is not loaded but interpreted: names in it stay names, and whatever does not
describe a tensor is refused.
"""

from collections.abc import Iterator
import math
import pathlib
import pickletools
import re
from typing import Any, NamedTuple
import zipfile

import jax.numpy as jnp
import numpy as np

_ANY = re.compile("")
_STORAGES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Tensor(NamedTuple):
    """What a PyTorch file says of a tensor."""

    dtype: np.dtype
    key: str  # Of its storage in the archive.
    offset: int  # In elements, as are the strides.
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _NotATensor(Exception):
    """A PyTorch file holds something else."""


def read(
    path: pathlib.Path, pattern: re.Pattern = _ANY
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a state dict whose names match the pattern from their start.

    Raises:
      ValueError: if the file is damaged, older than PyTorch 1.6, or holds something
        else than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (index,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
            folder = index.removesuffix("data.pkl")
            for name, tensor in _described(archive.read(index)).items():
                if pattern.match(name):
                    yield (
                        name,
                        _array(archive.read(f"{folder}data/{tensor.key}"), tensor),
                    )
    except _NotATensor as e:
        raise ValueError(
            f"{path}: holds {e} where only tensors may be. Use the model.safetensors"
            " of a source you trust."
        ) from e
    except zipfile.BadZipFile as e:
        raise ValueError(
            f"{path}: damaged, or older than PyTorch 1.6 ({e}). Fetch it again, or a"
            " model.safetensors in its place."
        ) from e
    except (IndexError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path}: damaged ({e!r}). Fetch it again.") from e


def _described(data: bytes) -> dict[str, _Tensor]:
    described = _interpret(data)
    if not isinstance(described, dict):
        raise _NotATensor(f"a {type(described).__name__}")
    for name, tensor in described.items():
        if not isinstance(tensor, _Tensor):
            raise _NotATensor(f"{name}, a {type(tensor).__name__},")
    return described


def _array(data: bytes, tensor: _Tensor) -> np.ndarray:
    """The tensor of a storage's bytes; raises IndexError if it reaches beyond them."""
    storage = np.frombuffer(data, tensor.dtype)
    sizes = list(zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise IndexError(f"{tensor} counts backwards")
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, tensor.dtype)
    if tensor.offset + sum((n - 1) * stride for n, stride in sizes) >= len(storage):
        raise IndexError(f"{tensor} reaches beyond its {len(storage)} elements")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    start = storage[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides)


def _interpret(data: bytes) -> Any:
    """What a pickled state dict describes; names in it stay names and run nothing."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    arg: Any
    for opcode, arg, _ in pickletools.genops(data):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "GLOBAL" | "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(arg)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                marks.append(len(stack) - int(opcode.name[-1]))
                items = since_mark()
                stack.append(tuple(items))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BUILD":
                stack.pop()  # Attributes of the state dict: versions of its modules.
            case "BINPERSID":
                _, kind, key, *_ = stack.pop()
                stack.append((_storage(kind), key))
            case "REDUCE":
                items = stack.pop()
                stack.append(_reduce(stack.pop(), items))
            case name:
                raise _NotATensor(f"a pickled {name}")


def _storage(kind: Any) -> np.dtype:
    module, _, name = str(kind).partition(" ")
    if module != "torch" or name not in _STORAGES:
        raise _NotATensor(f"a storage of {kind}")
    return np.dtype(_STORAGES[name])


def _reduce(function: Any, arguments: tuple) -> Any:
    match function:
        case "collections OrderedDict" if not arguments:
            return {}
        case "torch._utils _rebuild_tensor_v2":
            (dtype, key), offset, shape, strides, *_ = arguments
            return _Tensor(dtype, key, offset, shape, strides)
        case "torch._utils _rebuild_parameter":
            return arguments[0]
    raise _NotATensor(f"a call of {function}")
