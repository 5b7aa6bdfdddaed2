"""config.json of a checkpoint into the fields of a family's `Config`."""

from collections.abc import Iterable, Mapping
import contextlib
import pathlib
from typing import Any

from jser import files
from jser.encoders import weights

SIZES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
}

_NO_SIZES = {
    "epsilon": (float, int),
    "conv_bias": (bool,),
    "norm_first": (bool,),
    "kind": (str,),
}
_MOST = {"layers": 1024}  # What is more is damage, and takes all memory to refuse.
_MOST_OF_OTHERS = 1 << 24

Flags = Iterable[tuple[str, Any, Any]]


def read(
    folder: pathlib.Path,
    model_types: tuple[str, ...],
    keys: Mapping[str, str],
    flags: Flags = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields, and all of config.json.

    Args:
      folder: Of the checkpoint.
      model_types: Those of the family.
      keys: Field, and what config.json calls it.
      flags: As in `expect`.

    Raises:
      FileNotFoundError: if config.json is missing.
      ValueError: if the model is none of the family or a variant that is not written
        here, or a field is missing.
    """
    config, where = weights.read_config(folder), folder / "config.json"
    if (kind := config.get("model_type")) not in model_types:
        known = ", ".join(model_types)
        raise ValueError(f"{where}: model_type is {kind!r}, not one of {known}.")
    expect(config, flags, where)
    if missing := [key for key in keys.values() if config.get(key) is None]:
        raise ValueError(f"{where}: lacks {', '.join(missing)}. Fetch it again.")
    fields = {field: config[key] for field, key in keys.items()}
    with reading(folder):
        for field, key in keys.items():
            _refuse_odd_value(where, field, key, config[key])
    if fields["width"] % fields["heads"]:
        raise ValueError(
            f"{where}: {fields['heads']} heads do not divide the width"
            f" {fields['width']}."
        )
    return fields, config


def reading(folder: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """`files.reading` of config.json, for what a family makes of its fields."""
    return files.reading(folder / "config.json", weights.FETCH)


def _refuse_odd_value(where: pathlib.Path, field: str, key: str, value: Any) -> None:
    """Raises ValueError if a field is of another type, or no size that a model has."""
    least, most = int(field in SIZES), _MOST.get(field, _MOST_OF_OTHERS)
    if kind := _NO_SIZES.get(field):
        fits, wanted = isinstance(value, kind), kind[0].__name__
    else:
        sizes = value if key.startswith("conv_") and value else [value]
        wanted = f"from {least} to {most}"
        fits = all(type(n) is int and least <= abs(n) <= most for n in sizes)
    if not fits:
        raise ValueError(
            f"{where}: {key} = {value!r:.40} must be {wanted}. {weights.FETCH}"
        )


def expect(config: Mapping[str, Any], flags: Flags, where: pathlib.Path) -> None:
    """Refuses a variant of the architecture that is not written here.

    Args:
      config: What config.json holds.
      flags: Key, what its absence means to Hugging Face, and the value that is known.
      where: The file, for the error.

    Raises:
      ValueError: if a flag has another value.
    """
    for key, absent, known in flags:
        if (value := config.get(key, absent)) != known:
            raise ValueError(
                f"{where}: {key} = {value!r} is not supported, only {known!r}."
            )
