"""The authors' PyTorch checkpoints to runs of ours, and back.

    to_params(read_state(path), streams=("speech", "text"))

Every number is copied, none computed: kernels are transposed, and PyTorch's stacked
query, key and value projections cut into three. docs/convert.md.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from flax import traverse_util
import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jser.config import Experiment
from jser.data.corpus import open_corpus
from jser.encoders import torch_file
from jser.ensemble import run_config
from jser.roots import Roots
from jser.training import checkpoints, predict
from jser.training.setup import TrainingSetup

State = Mapping[str, np.ndarray]  # By PyTorch's names.
_AUTHORS = ("speech", "text", "prosody")  # Their streams, by position.


def read_state(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a state dict: `.safetensors`, or what `torch.save` wrote.

    Neither needs PyTorch; a file that holds code is refused, and none of it runs.

    Raises:
      FileNotFoundError: if it is not there.
      ValueError: if it is damaged, or not a state dict of tensors.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint.")
    if path.suffix != ".safetensors":
        return dict(torch_file.read(path))
    try:
        return load_file(path)
    except SafetensorError as e:
        raise ValueError(f"{path}: not a safetensors file ({e}).") from e


def write_state(path: pathlib.Path, state: State) -> None:
    """Writes a state dict as safetensors, which PyTorch's users load, too.

    Raises:
      ValueError: if the name does not end in `.safetensors`.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name must end in .safetensors.")
    save_file({name: np.ascontiguousarray(x) for name, x in state.items()}, path)


def to_params(state: State, streams: Sequence[str]) -> dict[str, Any]:
    """The parameters of a `FusionClassifier`, with the neutral head if there is one.

    Args:
      state: The authors' state dict, of two or three streams.
      streams: Our names of the streams, in the authors' order.

    Raises:
      ValueError: naming the keys that are missing or left over.
    """
    neutral = any(name.startswith(_neutral_head(len(streams))) for name in state)
    table = _table(streams, neutral)
    missing, left_over = (
        sorted(set(table) - set(state)),
        sorted(set(state) - set(table)),
    )
    if missing or left_over:
        raise ValueError(
            f"not a checkpoint of {len(streams)} streams: missing"
            f" {', '.join(missing) or 'nothing'}; left over"
            f" {', '.join(left_over) or 'nothing'}."
        )
    flat = {}
    for name, paths in table.items():
        parts = np.split(np.asarray(state[name], np.float32), len(paths))
        flat |= {path: part.T for path, part in zip(paths, parts, strict=True)}
    return traverse_util.unflatten_dict(flat, sep="/")


def from_params(params: Mapping[str, Any], streams: Sequence[str]) -> State:
    """The authors' state dict of our parameters; `to_params` undone.

    Raises:
      ValueError: naming the parameters that their network does not have.
    """
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    table = _table(streams, neutral="neutral" in params)
    if odd := set(flat) ^ {path for paths in table.values() for path in paths}:
        raise ValueError(f"not the authors' network: {', '.join(sorted(odd))}.")
    return {
        name: np.concatenate([np.asarray(flat[path]).T for path in paths])
        for name, paths in table.items()
    }


def _neutral_head(streams: int) -> str:
    return "neutral_classifier" if streams == 2 else "classifier_neutral"


def _table(streams: Sequence[str], neutral: bool) -> dict[str, tuple[str, ...]]:
    """Their names to ours; where several, theirs is stacked on axis 0.

    Raises:
      ValueError: unless there are two or three streams.
    """
    if not 2 <= len(streams) <= 3:
        raise ValueError(f"the authors' networks have two or three streams: {streams}")
    table: dict[str, tuple[str, ...]] = {}

    def dense(theirs: str, *ours: str) -> None:
        table[f"{theirs}weight"] = tuple(f"{o}/kernel" for o in ours)
        table[f"{theirs}bias"] = tuple(f"{o}/bias" for o in ours)

    def norm(theirs: str, ours: str) -> None:
        table[f"{theirs}.weight"] = (f"{ours}/scale",)
        table[f"{theirs}.bias"] = (f"{ours}/bias",)

    for their, our in zip(_AUTHORS, streams, strict=False):
        dense(f"{their}_projection.", f"{our}_encoder/projection")
        norm(f"{their}_norm", f"{our}_encoder/norm")
        for end, way in (("", "forward"), ("_reverse", "backward")):
            for gate, place in (("ih", "ih"), ("hh", "step/hh")):
                path = f"{our}_encoder/gru/{way}/{place}"
                table[f"{their}_gru.weight_{gate}_l0{end}"] = (f"{path}/kernel",)
                table[f"{their}_gru.bias_{gate}_l0{end}"] = (f"{path}/bias",)
        attention = f"{our}_attention"
        qkv = [f"{attention}/{x}" for x in ("query", "key", "value")]
        dense(f"{their}_attention.in_proj_", *qkv)
        dense(f"{their}_attention.out_proj.", f"{attention}/out")
        dense(f"{their}_attn.", f"{our}_pool/score")
    norm("layer_norm", "norm")
    heads = {"classifier": "emotion"}
    if neutral:
        heads[_neutral_head(len(streams))] = "neutral"
    for theirs, ours in heads.items():
        dense(f"{theirs}.0.", f"{ours}/hidden")
        dense(f"{theirs}.3.", f"{ours}/logits")
    return table


def to_run(
    experiment: Experiment, roots: Roots, state: State, workdir: pathlib.Path
) -> dict[str, float]:
    """Makes a finished run of a checkpoint, to predict with; returns its dev scores.

    Args:
      experiment: The config that the checkpoint was trained by.
      roots: Where the table and the features lie that it is to be used on.
      state: The checkpoint.
      workdir: Of the new run.

    Raises:
      FileExistsError: if there is a run already.
      ValueError: if keys or shapes do not fit, by name.
    """
    if (workdir / "config.json").exists():
        raise FileExistsError(f"{workdir}: a run already; give another --workdir.")
    corpus = open_corpus(roots, experiment.data)
    setup = TrainingSetup.of(experiment, corpus)
    params = to_params(state, tuple(experiment.data.streams))
    _refuse_other_shapes(params, setup.fresh.params)
    finished = dataclasses.replace(
        setup.fresh,
        step=setup.fresh.step + len(setup.source),
        params=jax.tree.map(
            lambda ours, like: like * 0 + ours, params, setup.fresh.params
        ),
    )
    scores = setup.evaluate(finished.variables, int(finished.step))
    run_config.write(workdir, experiment, corpus)
    with checkpoints.Checkpoints(workdir) as saved:
        saved.save(finished, scores)
    return scores


def _refuse_other_shapes(params: Any, like: Any) -> None:
    ours: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    want: dict[str, Any] = traverse_util.flatten_dict(like, sep="/")
    if odd := sorted(set(ours) ^ set(want)):
        raise ValueError(
            f"the config's network and the file differ in {', '.join(odd)}."
        )
    for path, value in ours.items():
        if value.shape != want[path].shape:
            raise ValueError(
                f"{path}: {value.shape} in the file, {want[path].shape} by config and"
                " features. Are the streams in the authors' order?"
            )


def from_run(workdir: pathlib.Path) -> State:
    """The authors' state dict of a run's best checkpoint."""
    experiment, _ = run_config.read(workdir)
    with checkpoints.Checkpoints(workdir) as saved:
        variables = saved.load_variables(predict.best_step(saved))
    return from_params(variables["params"], tuple(experiment.data.streams))
