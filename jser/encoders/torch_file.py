"""Files that `torch.save` wrote, read without PyTorch and without running their code.

The file is a zip of raw storages and a pickle that describes the tensors in them. The
pickle is not loaded but interpreted: names in it stay names, and whatever does not
describe a tensor is refused. What was read is never shown whole, nor compared or used
as a key unless it is a string: tuples of tuples of one object are small on disk only.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
import math
import pathlib
import pickletools
import re
from typing import Any, NamedTuple
import zipfile

import jax.numpy as jnp
import numpy as np

from jser import archives, files

_ANY = re.compile("")
_MOST_DESCRIBED = 1 << 24  # Bytes of the pickle; those of large models have 1 / 20.
_MOST_ALIKE = 4  # Times the file's size that its tensors may have, sharing storages.
_MOST_AXES = 32
_DAMAGED = (
    "damaged, or older than PyTorch 1.6",
    "Fetch it again, or a model.safetensors in its place.",
)
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
    what, remedy = _DAMAGED
    with files.reading(path, remedy, what), archives.open_stored(path) as archive:
        try:
            index = _index(archive)
            described = _described(archive.read(index))
        except _NotATensor as e:
            raise ValueError(
                f"{path}: holds {e} where only tensors may be. Use the"
                " model.safetensors of a source you trust."
            ) from e
        wanted = {n: t for n, t in described.items() if pattern.match(n)}
        _refuse_more_than_there_is(wanted.values(), path.stat().st_size)
        shared = Counter(tensor.key for tensor in wanted.values())
        read: dict[str, bytes] = {}
        for name, tensor in wanted.items():
            data = read.get(tensor.key)
            if data is None:
                folder = index.filename.removesuffix("data.pkl")
                data = archive.read(f"{folder}data/{tensor.key}")
            if shared[tensor.key] > 1:
                read[tensor.key] = data
            yield name, _array(data, tensor)


def _index(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The pickle; raises ValueError if there is not one, or it is too large."""
    (index,) = (p for p in archive.infolist() if p.filename.endswith("/data.pkl"))
    if index.file_size > _MOST_DESCRIBED:
        raise ValueError(f"{index.file_size} bytes describe the tensors")
    return index


def _refuse_more_than_there_is(tensors: Iterable[_Tensor], size: int) -> None:
    stated = sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors)
    if stated > _MOST_ALIKE * size:
        raise ValueError(f"its tensors state {stated} bytes, and it has {size}")


def _described(data: bytes) -> dict[str, _Tensor]:
    described = _interpret(data)
    if not isinstance(described, dict):
        raise _NotATensor(f"a {type(described).__name__}")
    for name, tensor in described.items():
        if not isinstance(tensor, _Tensor):
            raise _NotATensor(f"{name!r:.80}, a {type(tensor).__name__},")
    return described


def _array(data: bytes, tensor: _Tensor) -> np.ndarray:
    """The tensor of a storage's bytes; raises IndexError if it reaches beyond them."""
    storage = np.frombuffer(data, tensor.dtype)
    sizes = list(zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        raise IndexError("a tensor counts backwards")
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, tensor.dtype)
    if tensor.offset + sum((n - 1) * stride for n, stride in sizes) >= len(storage):
        raise IndexError(f"a tensor reaches beyond its {len(storage)} elements")
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
                stack[-1][_string(key)] = value
            case "SETITEMS":
                items = since_mark()
                keys = map(_string, items[::2])
                stack[-1].update(zip(keys, items[1::2], strict=True))
            case "BUILD":
                stack.pop()  # Attributes of the state dict: versions of its modules.
            case "BINPERSID":
                _, kind, key, *_ = stack.pop()
                stack.append((_storage(_string(kind)), _string(key)))
            case "REDUCE":
                items = stack.pop()
                stack.append(_reduce(stack.pop(), items))
            case name:
                raise _NotATensor(f"a pickled {name}")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _NotATensor(f"a {type(value).__name__} for a name")
    return value


def _storage(kind: str) -> np.dtype:
    module, _, name = kind.partition(" ")
    if module != "torch" or name not in _STORAGES:
        raise _NotATensor(f"a storage of {kind:.80}")
    return np.dtype(_STORAGES[name])


def _reduce(function: Any, arguments: tuple) -> Any:
    match function:
        case "collections OrderedDict" if not arguments:
            return {}
        case "torch._utils _rebuild_tensor_v2":
            (dtype, key), offset, shape, strides, *_ = arguments
            _refuse_odd_layout(dtype, key, offset, shape, strides)
            return _Tensor(dtype, key, offset, shape, strides)
        case "torch._utils _rebuild_parameter":
            return arguments[0]
    called = function if isinstance(function, str) else type(function).__name__
    raise _NotATensor(f"a call of {called:.80}")


def _refuse_odd_layout(
    dtype: Any, key: Any, offset: Any, shape: Any, strides: Any
) -> None:
    """Raises ValueError unless these can be a tensor's fields."""
    if not isinstance(dtype, np.dtype) or not isinstance(key, str):
        raise ValueError("a tensor without a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor without a shape")
    if len(shape) > _MOST_AXES:
        raise ValueError(f"a tensor of {len(shape)} axes")
    if not all(type(n) is int and abs(n) < 1 << 62 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of a size that is no number")
