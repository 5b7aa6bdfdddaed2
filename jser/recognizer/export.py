"""Export: the networks of a bundle as StableHLO. docs/export.md."""

from collections.abc import Mapping
import pathlib
from typing import Any

import jax
from jax import export
import jax.numpy as jnp
import numpy as np

from jser import files
from jser.corpora.utterances import ATTRIBUTES
from jser.data import targets
from jser.recognizer.bundle import Bundle
from jser.shapes import Stream
from jser.training.network import make_model, products
from jser.training.step import attributes_of

MANIFEST = "export.json"
PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS = {"frames": "float16", "mask": "bool"}  # Type by argument.
_SCHEMA = 1
# Padded lengths. Of the front ends with most frames, 100 a second, 4096 are 40 s.
_LENGTHS = tuple(2**i for i in range(5, 13))
_LOADED_BY = """\
from jax import export
with open("frames_{frames}.stablehlo", "rb") as f:
    network = export.deserialize(bytearray(f.read()))
{outputs} = network.call(frames, mask)  # Two dicts of arrays, by name of features.
"""


def save(bundle: Bundle, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes a program for each padded length, and a manifest, which comes last.

    A program makes the members' logits, float32 [B, M, C], of two dicts by name of
    features: frames, float16 [B, T, D] or [B, T, L, D] padded with anything finite, and
    which of them are real, bool [B, T], at least one in each row. B is free, T is the
    program's. Where A members predict attributes, theirs, float32 [B, A, 3], come as
    well. Front ends, stacker and temperature stay with the bundle.

    Raises:
      ImportError: if flatbuffers is not installed, which JAX writes with.
    """
    refuse_learned(bundle)
    one_frame = all(_is_one_frame(spec) for spec in bundle.front_ends.values())
    (folder / MANIFEST).unlink(missing_ok=True)
    programs, lengths = {}, (1,) if one_frame else _LENGTHS
    for frames in lengths:
        name = f"frames_{frames}.stablehlo"
        files.write_atomically(folder / name, _program(bundle, frames))
        programs[name] = {"frames": frames}
    made_by = {"jax": jax.__version__, "platforms": PLATFORMS}
    outputs = ", ".join(output_shapes(bundle))
    loaded_by = _LOADED_BY.format(frames=lengths[-1], outputs=outputs)
    return write_manifest(bundle, folder, made_by, programs, loaded_by)


def refuse_learned(bundle: Bundle) -> None:
    """Raises ValueError where a member's encoder learned: it would have to go along."""
    for member in bundle.members:
        if encoder := member.experiment.tune.encoder:
            raise ValueError(
                f"{bundle.name}: {member.experiment.name} reads sound by {encoder},"
                " which learned; networks on stored frames alone are exported so. Its"
                " encoder: --to peft."
            )


def write_manifest(
    bundle: Bundle,
    folder: pathlib.Path,
    made_by: Mapping[str, Any],
    programs: Mapping[str, Mapping[str, Any]],
    loaded_by: str,
) -> list[pathlib.Path]:
    """Describes the programs, by file name, that lie in a folder; all paths."""
    paths = [folder / name for name in programs]
    outputs = {
        name: {"shape": shape, "dtype": "float32"}
        for name, shape in output_shapes(bundle).items()
    }
    about = {"names": ATTRIBUTES, "members": bundle.attributes_of}
    rated = {name: outputs[name] | about for name in outputs if name != "logits"}
    files.write_json(
        folder / MANIFEST,
        {
            "schema": _SCHEMA,
            **made_by,
            "model": {"name": bundle.name, "digest": bundle.digest},
            "members": [m.experiment.name for m in bundle.members],
            "labels": bundle.labels,
            "inputs": {
                argument: {
                    name: {"shape": ["B", "T", *shape], "dtype": dtype}
                    for name, shape in shapes(bundle, dtype).items()
                }
                for argument, dtype in INPUTS.items()
            },
            "output": outputs["logits"],
            **rated,
            "programs": {
                path.name: {**programs[path.name], "sha256": files.file_digest(path)}
                for path in paths
            },
            "loaded_by": loaded_by.splitlines(),
        },
    )
    return [*paths, folder / MANIFEST]


def _is_one_frame(spec: Mapping[str, Any]) -> bool:
    """Whether a front end makes one frame of a sound, however long that is."""
    return spec["kind"] == "speech" and not spec["frames_per_s"]


def shapes(bundle: Bundle, dtype: str) -> dict[str, tuple[int, ...]]:
    """By name of features, the axes after B and T: of frames, or of a bool mask."""
    by_name = {}
    for name, spec in bundle.front_ends.items():
        layers = () if spec["layers"] == 1 else (spec["layers"],)
        by_name[name] = () if dtype == "bool" else (*layers, spec["width"])
    return by_name


def output_shapes(bundle: Bundle) -> dict[str, list[str | int]]:
    """By name, the axes of the logits and, where members predict them, attributes."""
    found: dict[str, list[str | int]] = {
        "logits": ["B", len(bundle.members), len(bundle.labels)]
    }
    if bundle.attributes_of:
        found["attributes"] = ["B", len(bundle.attributes_of), len(ATTRIBUTES)]
    return found


def _program(bundle: Bundle, frames: int) -> bytes:
    """All members as one serialised program for a padded length."""
    models = [make_model(m.experiment, len(bundle.labels)) for m in bundle.members]

    def said(x: Any, mask: Any) -> jax.Array | tuple[jax.Array, jax.Array]:
        logits, attributes = [], []
        for member, model in zip(bundle.members, models, strict=True):
            names = member.experiment.data.streams
            streams = {s: Stream(x[n], mask[n]) for s, n in names.items()}
            variables = {"standard": {}, **member.variables}
            with products():
                outputs: Any = model.apply(variables, streams, train=False)
            logits.append(outputs[targets.EMOTION])
            if targets.OF_ATTRIBUTES in outputs:
                attributes.append(attributes_of(outputs[targets.OF_ATTRIBUTES]))
        if not attributes:
            return jnp.stack(logits, axis=1)
        return jnp.stack(logits, axis=1), jnp.stack(attributes, axis=1)

    (B,) = export.symbolic_shape("B")
    arguments = [
        {
            name: jax.ShapeDtypeStruct((B, frames, *shape), np.dtype(dtype))
            for name, shape in shapes(bundle, dtype).items()
        }
        for dtype in INPUTS.values()
    ]
    made = export.export(jax.jit(said), platforms=PLATFORMS)(*arguments)
    return bytes(made.serialize())
