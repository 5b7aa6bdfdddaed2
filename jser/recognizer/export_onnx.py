"""Export: the networks of a bundle as one ONNX graph. docs/export.md.

Written out layer by layer, as the paper has them, and not traced from `jser.models`:
ONNX has a GRU of its own, and takes any number of utterances and frames, where a trace
would have a loop in place of the one and a size in place of the others.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports]

from jser import files
from jser.config import Model
from jser.data import targets
from jser.models.fusion import MIX
from jser.models.layers import LAYER_NORM_EPSILON
from jser.recognizer import export
from jser.recognizer.bundle import Bundle, Member

PROGRAM = "networks.onnx"
_OPSET, _IR_VERSION = 17, 8  # Of 2022: runtimes read what is older than they are.
_MASKED = np.finfo(np.float32).min  # Score of what gets no weight.
_LOADED_BY = """\
import onnxruntime
networks = onnxruntime.InferenceSession("{program}")
given = {{f"frames/{{name}}": x for name, x in frames.items()}}
given |= {{f"mask/{{name}}": x for name, x in mask.items()}}
[{outputs}] = networks.run(None, given)  # Of two dicts of arrays, by name of features.
"""
_Params = Mapping[str, Any]  # Arrays, or further ones, by name.
_Streams = Mapping[str, tuple[str, str]]  # Names of frames B T D and of mask B T.
_Said = dict[str, str]  # By task of `_TASKS`, the name of what it makes, [B, _].
_TASKS = (targets.EMOTION, targets.OF_ATTRIBUTES)


def save(bundle: Bundle, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes one graph for any batch and any length, and a manifest, which comes last.

    The graph makes what `export.save` describes, as logits and attributes, of the same
    frames and masks; they are inputs named frames/<features> and mask/<features>. T is
    each stream's own, the real frames of a row come first, and all sums and products
    are in float32, those of members that were trained in bfloat16, too.
    """
    export.refuse_learned(bundle)
    (folder / export.MANIFEST).unlink(missing_ok=True)
    files.write_atomically(folder / PROGRAM, _graph(bundle).SerializeToString())
    made_by = {"onnx": onnx.__version__, "opset": _OPSET}
    outputs = ", ".join(export.output_shapes(bundle))
    loaded_by = _LOADED_BY.format(program=PROGRAM, outputs=outputs)
    return export.write_manifest(bundle, folder, made_by, {PROGRAM: {}}, loaded_by)


def _graph(bundle: Bundle) -> Any:
    """The model, as onnx calls a graph with its versions and notes."""
    nodes = _Nodes()
    said = [_said(nodes, m) for m in bundle.members]
    shapes = export.output_shapes(bundle)
    for name, task in zip(shapes, _TASKS, strict=False):
        each = [nodes("Unsqueeze", x[task], _ints(1)) for x in said if task in x]
        nodes("Concat", *each, axis=1, made=name)
    types = {"float16": onnx.TensorProto.FLOAT16, "bool": onnx.TensorProto.BOOL}
    inputs = [
        helper.make_tensor_value_info(
            f"{argument}/{name}", types[dtype], ["B", f"T/{name}", *shape]
        )
        for argument, dtype in export.INPUTS.items()
        for name, shape in export.shapes(bundle, dtype).items()
    ]
    outputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(
        nodes.nodes, "networks", inputs, outputs, initializer=nodes.constants
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    about = {"name": bundle.name, "digest": bundle.digest, "labels": bundle.labels}
    helper.set_model_props(model, {k: json.dumps(v) for k, v in about.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


class _Nodes:
    """The nodes of a graph so far, and the arrays that they read."""

    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def __call__(
        self, kind: str, *inputs: str | np.ndarray | np.generic, made: str = "", **how
    ) -> str:
        """Adds a node that reads values, by name, and arrays; the name of its value."""
        made = made or f"{kind}_{len(self.nodes)}"
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        self.nodes.append(helper.make_node(kind, names, [made], **how))
        return made

    def _constant(self, x: np.ndarray | np.generic) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(x), name))
        return name


def _ints(*of: int) -> np.ndarray:
    """Axes and sizes, as ONNX takes them."""
    return np.array(of, np.int64)


def _said(nodes: _Nodes, member: Member) -> _Said:
    """What a member says: `training.network.make_model`, layer by layer."""
    model, params = member.experiment.model, member.variables["params"]
    made = {"fusion": _fusion, "pooling": _pooling, "probe": _probe, "deep": _deep}
    said = made[model.kind](nodes, model, params, _read(nodes, member))
    if targets.OF_ATTRIBUTES in said:  # `training.step.attributes_of`.
        share = nodes("Sigmoid", said[targets.OF_ATTRIBUTES])
        scaled = nodes("Mul", share, np.float32(6))
        said[targets.OF_ATTRIBUTES] = nodes("Add", scaled, np.float32(1))
    return said


def _read(nodes: _Nodes, member: Member) -> _Streams:
    """`fusion.StreamInput`."""
    params, standard = member.variables["params"], member.variables.get("standard", {})
    streams = {}
    for s, name in member.experiment.data.streams.items():
        key, x = (
            f"{s}_input",
            nodes("Cast", f"frames/{name}", to=onnx.TensorProto.FLOAT),
        )
        if key in standard:
            x = nodes("Sub", x, standard[key]["mean"])
            x = nodes("Div", x, standard[key]["deviation"])
            x = nodes("Clip", x, np.float32(-5), np.float32(5))
        if key in params:
            weight_L1 = nodes("Softmax", params[key][MIX][:, None], axis=0)
            x = _weighted_sum(nodes, weight_L1, x, axis=2)
        else:  # Layers beside each other, or the only one.
            x = nodes("Reshape", x, _ints(0, 0, -1))
        streams[s] = x, f"mask/{name}"
    return streams


def _fusion(nodes: _Nodes, model: Model, params: _Params, streams: _Streams) -> _Said:
    """`fusion.FusionClassifier`."""
    encoded = {}
    for s, (x, mask) in streams.items():
        p = params[f"{s}_encoder"]
        h = _norm(nodes, _linear(nodes, x, p["projection"]), p["norm"])
        mask = mask if model.mask_padding else ""  # What ONNX leaves out is called so.
        encoded[s] = _gru(nodes, h, mask, p["gru"]), mask
    pooled = []
    for s, (query, mask) in encoded.items():
        x = query
        for other in (encoded[o] for o in streams if o != s):
            heads, p = model.heads.get(s, 1), params[f"{s}_attention"]
            x = nodes("Add", x, _attention(nodes, query, other, heads, p))
        score_BT1 = _linear(nodes, x, params[f"{s}_pool"]["score"])
        pooled.append(_weighted_sum(nodes, _over_time(nodes, score_BT1, mask), x))
    h = _norm(nodes, nodes("Concat", *pooled, axis=-1), params["norm"])
    said = {}
    for task in (t for t in _TASKS if t in params):
        own = nodes("Relu", _linear(nodes, h, params[task]["hidden"]))
        said[task] = _linear(nodes, own, params[task]["logits"])
    return said


def _pooling(nodes: _Nodes, _: Model, params: _Params, streams: _Streams) -> _Said:
    """`baseline.PoolingClassifier`."""
    pooled = []
    for s, (x, mask) in streams.items():
        p = params[f"{s}_pool"]
        h = nodes("Tanh", _linear(nodes, x, p["hidden"]))
        score_BT1 = nodes("MatMul", h, p["score"]["kernel"])
        weight_BT1 = _over_time(nodes, score_BT1, mask)
        mean = _weighted_sum(nodes, weight_BT1, x)
        square = _weighted_sum(nodes, weight_BT1, nodes("Mul", x, x))
        variance = nodes("Sub", square, nodes("Mul", mean, mean))
        pooled += [mean, nodes("Sqrt", nodes("Max", variance, np.float32(1e-5)))]
    h = _linear(nodes, nodes("Concat", *pooled, axis=-1), params["hidden"])
    h = nodes("Relu", _norm(nodes, h, params["norm"]))
    return _linear_heads(nodes, h, params, "logits")


def _probe(nodes: _Nodes, _: Model, params: _Params, streams: _Streams) -> _Said:
    """`probe.LinearProbe`."""
    pooled = [_mean(nodes, x, mask) for x, mask in streams.values()]
    h = nodes("Concat", *pooled, axis=-1)
    return _linear_heads(nodes, h, params, "logits")


def _deep(nodes: _Nodes, _: Model, params: _Params, streams: _Streams) -> _Said:
    """`deep.DeepClassifier`; padding may stay where it lies, as nothing is dropped."""
    after_first, after_second, masks = [], [], []
    for s, (x, mask) in streams.items():
        first, second = _leg(nodes, x, mask, params[f"{s}_leg"])
        after_first.append(first)
        after_second.append(second)
        masks.append(mask)
    x = nodes("Concat", *after_first, axis=1)
    masks.append(nodes("Concat", *masks, axis=1))
    after_second.append(_leg(nodes, x, masks[-1], params["first_fusion"])[1])
    x = nodes("Concat", *after_second, axis=1)
    masks[-1] = nodes("Concat", *masks, axis=1)
    after_second[-1] = _leg(nodes, x, masks[-1], params["second_fusion"])[1]
    means = [_mean(nodes, *of) for of in zip(after_second, masks, strict=True)]
    joint = _linear(nodes, nodes("Concat", *means, axis=-1), params["joint"])
    return _linear_heads(nodes, nodes("Relu", joint), params, targets.EMOTION)


def _linear_heads(nodes: _Nodes, h: str, params: _Params, emotion: str) -> _Said:
    """A layer for each task; the emotion's parameters have a name of their own."""
    names = {t: emotion if t == targets.EMOTION else t for t in _TASKS}
    return {t: _linear(nodes, h, params[n]) for t, n in names.items() if n in params}


def _leg(nodes: _Nodes, x: str, mask: str, params: _Params) -> tuple[str, str]:
    """`deep.Leg`: the frames after its first layer and after its second."""
    h = nodes("Relu", _linear(nodes, x, params["input"]))
    x, after = _linear(nodes, h, params["projection"]), []
    for p in (params["first"], params["second"]):
        gathered = _attention(nodes, x, (x, mask), 1, p["attention"])
        x = _norm(nodes, nodes("Add", x, gathered), p["norm"])
        h = _linear(nodes, nodes("Relu", _linear(nodes, x, p["up"])), p["down"])
        x = _norm(nodes, nodes("Add", x, h), p["final_norm"])
        after.append(x)
    return after[0], after[1]


def _linear(nodes: _Nodes, x: str, params: _Params) -> str:
    return nodes("Add", nodes("MatMul", x, params["kernel"]), params["bias"])


def _norm(nodes: _Nodes, x: str, params: _Params) -> str:
    scale, bias = params["scale"], params["bias"]
    return nodes("LayerNormalization", x, scale, bias, epsilon=LAYER_NORM_EPSILON)


def _gru(nodes: _Nodes, x: str, mask: str, params: _Params) -> str:
    """`recurrence.BiGru`: the states of both directions, [B, T, 2 H]."""
    steps = [params[d] for d in ("forward", "backward")]
    ih, hh = [p["ih"] for p in steps], [p["step"]["hh"] for p in steps]
    kernels = [np.stack([_gates(p["kernel"]).T for p in of]) for of in (ih, hh)]
    bias_2G2 = np.concatenate(
        [np.stack([_gates(p["bias"]) for p in of]) for of in (ih, hh)], axis=-1
    )
    length = ""
    if mask:
        real_BT = nodes("Cast", mask, to=onnx.TensorProto.INT32)
        length = nodes("ReduceSum", real_BT, _ints(1), keepdims=0)
    states_T2BH = nodes(
        "GRU",
        nodes("Transpose", x, perm=(1, 0, 2)),
        *(*kernels, bias_2G2, length),
        hidden_size=hh[0]["kernel"].shape[0],
        direction="bidirectional",
        linear_before_reset=1,  # As PyTorch has it: two biases.
    )
    states_BT2H = nodes("Transpose", states_T2BH, perm=(2, 0, 1, 3))
    return nodes("Reshape", states_BT2H, _ints(0, 0, -1))


def _gates(x: np.ndarray) -> np.ndarray:
    """The last axis, in the order r, z, n, in that of ONNX."""
    r, z, n = np.split(np.asarray(x), 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


def _attention(
    nodes: _Nodes, query: str, other: tuple[str, str], heads: int, params: _Params
) -> str:
    """What each frame of `query` gathers from another stream, [B, T, D]."""

    def heads_of(name: str, x: str, perm: tuple[int, ...]) -> str:
        h_BTD = _linear(nodes, x, params[name])
        h_BTAE = nodes("Reshape", h_BTD, _ints(0, 0, heads, -1))
        return nodes("Transpose", h_BTAE, perm=perm)

    x, mask = other
    q_BATE = heads_of("query", query, (0, 2, 1, 3))
    k_BAES = heads_of("key", x, (0, 2, 3, 1))
    v_BASE = heads_of("value", x, (0, 2, 1, 3))
    E = params["query"]["kernel"].shape[1] // heads
    score_BATS = nodes("MatMul", nodes("Mul", q_BATE, np.float32(E**-0.5)), k_BAES)
    if mask:
        real_B11S = nodes("Unsqueeze", mask, _ints(1, 2))
        score_BATS = nodes("Where", real_B11S, score_BATS, _MASKED)
    p_BATS = nodes("Softmax", score_BATS, axis=-1)
    gathered = nodes("Transpose", nodes("MatMul", p_BATS, v_BASE), perm=(0, 2, 1, 3))
    return _linear(nodes, nodes("Reshape", gathered, _ints(0, 0, -1)), params["out"])


def _over_time(nodes: _Nodes, score_BT1: str, mask: str) -> str:
    """Weights, [B, T, 1]: a softmax over the real frames."""
    if mask:
        real_BT1 = nodes("Unsqueeze", mask, _ints(2))
        score_BT1 = nodes("Where", real_BT1, score_BT1, _MASKED)
    return nodes("Softmax", score_BT1, axis=1)


def _mean(nodes: _Nodes, x: str, mask: str) -> str:
    """Over the real frames, [B, D]."""
    real_BT = nodes("Cast", mask, to=onnx.TensorProto.FLOAT)
    real_BT1 = nodes("Unsqueeze", real_BT, _ints(2))
    count_B11 = nodes("ReduceSum", real_BT1, _ints(1))
    return _weighted_sum(nodes, nodes("Div", real_BT1, count_B11), x)


def _weighted_sum(nodes: _Nodes, weight: str, x: str, axis: int = 1) -> str:
    """The sum over an axis, which goes: that of time, or another."""
    return nodes("ReduceSum", nodes("Mul", weight, x), _ints(axis), keepdims=0)
