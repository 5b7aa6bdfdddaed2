"""Adapters on disk in PEFT's format, and merged into a checkpoint of Hugging Face.

    adapter_config.json        rank, scale, and which modules are adapted
    adapter_model.safetensors  base_model.model.<module>.lora_A.weight [rank, in],
                               base_model.model.<module>.lora_B.weight [out, rank]

`peft.PeftModel.from_pretrained(model, folder)` loads it on what transformers' AutoModel
makes of the encoder's checkpoint, and `read` here what PEFT wrote.
"""

from collections.abc import Iterator, Mapping
import pathlib
import re
from typing import Any

from flax import traverse_util
import numpy as np
from safetensors import numpy as safetensors

from jser import files
from jser.encoders import family_config, parameters, weights
from jser.encoders.parameters import Naming
from jser.training.lora import Adapter, Path, dense_kernels, of_layers

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_ROOT = "base_model.model."
_COPIED = (".json", ".txt", ".model")  # Of a checkpoint, besides its weights.
_REMEDY = "Fetch or write the adapter again."
# What PEFT has of LoRA, and nothing here computes.
_FLAGS = (
    ("peft_type", None, "LORA"),
    ("bias", "none", "none"),
    ("fan_in_fan_out", False, False),
    ("use_dora", False, False),
    ("use_rslora", False, False),
    ("lora_bias", False, False),
    ("use_qalora", False, False),
    ("alora_invocation_tokens", None, None),
    ("layer_replication", None, None),
)
_PATTERNS = ("rank_pattern", "alpha_pattern", "modules_to_save")  # None or empty.


def write(
    folder: pathlib.Path,
    adapter: Adapter,
    params: Mapping[str, Any],
    naming: Naming,
    base: str,
) -> None:
    """Writes the two files.

    Args:
      folder: Is made if it is not there.
      adapter: Of one rank.
      params: The encoder's, or their shapes.
      naming: Of the encoder's family.
      base: The checkpoint that it belongs to: a name of the hub, or a folder.
    """
    tensors, modules, ranks = {}, [], set()
    for module, a, b in _matrices(adapter, params, naming):
        name = naming.prefix + module
        modules.append(name)
        ranks.add(a.shape[1])
        tensors[f"{_ROOT}{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"{_ROOT}{name}.lora_B.weight"] = np.ascontiguousarray(b.T)
    (rank,) = ranks
    alpha = adapter.scale * rank
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "task_type": None,
        "inference_mode": True,
    }
    content = safetensors.save(tensors, {"format": "pt"})
    files.write_atomically(folder / WEIGHTS, content)
    files.write_json(folder / CONFIG, config)


def read(folder: pathlib.Path, params: Mapping[str, Any], naming: Naming) -> Adapter:
    """The adapter of a folder that `write` or PEFT wrote.

    Blocks between adapted ones that have no matrices of their own get zeros.

    Args:
      folder: Has the two files.
      params: The encoder's, or their shapes.
      naming: Of the encoder's family.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if one is damaged, or of another kind of adapter or another model.
    """
    rank, scale = _read_config(folder)
    where = folder / WEIGHTS
    cut = re.compile(re.escape(_ROOT) + naming.pattern)
    tensors = weights.read_tensors(folder, names=[WEIGHTS])
    tensors = {cut.sub("", name, count=1): x for name, x in tensors.items()}
    factors = {}
    for path, kernel in dense_kernels(params):
        modules, stacked = _modules(path, kernel, naming)
        shapes = {"A": (rank, kernel.shape[-2]), "B": (kernel.shape[-1], rank)}
        pairs = [_take_pair(tensors, module, shapes, where) for module in modules]
        while pairs and pairs[0] is None:
            del pairs[0]
        if pairs:
            none = [np.zeros(shape, np.float32).T for shape in shapes.values()]
            a, b = (np.stack(x) for x in zip(*(p or none for p in pairs), strict=True))
            factors[path] = {"a": a, "b": b} if stacked else {"a": a[0], "b": b[0]}
    if tensors or not factors:
        what = f"no place for {parameters.some(set(tensors))}" if tensors else "empty"
        raise ValueError(
            f"{where}: {what}. The adapter is of another model than this encoder, or"
            " adapts more than its dense layers."
        )
    return Adapter(traverse_util.unflatten_dict(factors), scale)


def write_merged(
    folder: pathlib.Path,
    adapter: Adapter,
    params: Mapping[str, Any],
    naming: Naming,
    checkpoint: pathlib.Path,
) -> None:
    """Writes a checkpoint with the adapter in its weights, float32.

    Args:
      folder: Where to; not the checkpoint's own.
      adapter: Its kernels become W + scale A B.
      params: The encoder's, or their shapes.
      naming: Of the encoder's family.
      checkpoint: The folder that the encoder was read from; all that is no weights is
        copied from it.

    Raises:
      FileNotFoundError: if the checkpoint has no weights.
      ValueError: if they are damaged or of another model.
    """
    tensors, full = _named(checkpoint, naming)
    for module, a, b in _matrices(adapter, params, naming):
        if (name := full.get(f"{module}.weight")) is None:
            raise ValueError(f"{checkpoint}: the weights lack {module}.weight.")
        tensors[name] = tensors[name] + adapter.scale * (a @ b).T
    _write_checkpoint(folder, tensors, checkpoint)


def write_tuned(
    folder: pathlib.Path,
    params: Mapping[str, Any],
    naming: Naming,
    checkpoint: pathlib.Path,
) -> None:
    """Writes a checkpoint with tuned parameters in place of its own, float32.

    Args:
      folder: Where to; not the checkpoint's own.
      params: The encoder's that were tuned.
      naming: Of the encoder's family.
      checkpoint: The folder that the encoder was read from.

    Raises:
      FileNotFoundError, ValueError: as `write_merged`.
    """
    tensors, full = _named(checkpoint, naming)
    leaves: dict[Path, Any] = traverse_util.flatten_dict(params)
    for path, leaf in leaves.items():
        names, stacked = parameters.names_of(path, leaf, naming.names, naming.start)
        for name, x in zip(names, leaf if stacked else [leaf], strict=True):
            value = np.asarray(x, np.float32)
            value = np.ascontiguousarray(value.T if path[-1] == "kernel" else value)
            for part, of_part in parameters.parts_of(name, value, full, checkpoint):
                tensors[full[part]] = of_part
    _write_checkpoint(folder, tensors, checkpoint)


def _named(
    checkpoint: pathlib.Path, naming: Naming
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A checkpoint's tensors, and their names by what they are without the prefix."""
    tensors = weights.read_tensors(checkpoint)
    cut = re.compile(naming.pattern)
    return tensors, {cut.sub("", n, count=1): n for n in tensors if cut.match(n)}


def _write_checkpoint(
    folder: pathlib.Path, tensors: dict[str, np.ndarray], checkpoint: pathlib.Path
) -> None:
    """Tensors, and what of a checkpoint is no weights."""
    content = safetensors.save(tensors, {"format": "pt"})
    files.write_atomically(folder / "model.safetensors", content)
    for path in sorted(checkpoint.iterdir()):
        if path.suffix in _COPIED and not path.name.endswith(".index.json"):
            files.write_atomically(folder / path.name, path.read_bytes())


def _read_config(folder: pathlib.Path) -> tuple[int, float]:
    """Rank and scale."""
    config, where = weights.read_config(folder, CONFIG), folder / CONFIG
    family_config.expect(config, _FLAGS, where)
    for key in _PATTERNS:
        if config.get(key):
            raise ValueError(f"{where}: {key} is not supported, only without entries.")
    with files.reading(where, _REMEDY):
        files.expect(config, {"r": int, "lora_alpha": (int, float)})
        if config["r"] < 1:
            raise ValueError("r is not at least 1")
    return config["r"], config["lora_alpha"] / config["r"]


def _take_pair(
    tensors: dict[str, np.ndarray],
    module: str,
    shapes: Mapping[str, tuple[int, int]],
    where: pathlib.Path,
) -> list[np.ndarray] | None:
    """A [in, rank] and B [rank, out] of a module, taken out of `tensors`, if any."""
    names = {k: f"{module}.lora_{k}.weight" for k in shapes}
    if not tensors.keys() & names.values():
        return None
    pair = []
    for k, name in names.items():
        if name not in tensors:
            raise ValueError(f"{where}: lacks {name}. {_REMEDY}")
        if tensors[name].shape != shapes[k]:
            raise ValueError(
                f"{where}: {name} has the shape {tensors[name].shape}; for this encoder"
                f" it is {shapes[k]}. The adapter is of another model."
            )
        pair.append(tensors.pop(name).astype(np.float32).T)
    return pair


def _matrices(
    adapter: Adapter, params: Mapping[str, Any], naming: Naming
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of every adapted module its name without the prefix, A [in, rank], B."""
    kernels = dict(dense_kernels(params))
    for path, (a, b) in of_layers(adapter).items():
        modules, stacked = _modules(path, kernels[path], naming)
        above = modules[-len(a) :] if stacked else modules
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        a, b = (a, b) if stacked else (a[None], b[None])
        yield from zip(above, a, b, strict=True)


def _modules(path: Path, kernel: Any, naming: Naming) -> tuple[list[str], bool]:
    """The modules of a dense layer without the prefix, and whether it is a stack."""
    leaf = (*path, "kernel")
    names, stacked = parameters.names_of(leaf, kernel, naming.names, naming.start)
    return [name.removesuffix(".weight") for name in names], stacked
