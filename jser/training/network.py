"""The network of an experiment."""

from flax import linen as nn

from jser.config import Experiment
from jser.models import baseline, fusion, probe

_DTYPES = {"float32": "float32", "bf16": "bfloat16"}


def make_model(experiment: Experiment, classes: int) -> nn.Module:
    """The network of an experiment: fusion, the pooling baseline or a linear probe."""
    m = experiment.model
    common = {
        "streams": tuple(experiment.data.streams),
        "classes": classes,
        "dropout": m.dropout,
        "standardize": experiment.data.standardize,
        "layers": m.layers,
    }
    if m.kind == "probe":
        return probe.LinearProbe(**common)
    wide = {"hidden": m.hidden, "dtype": _DTYPES[experiment.precision]}
    if m.kind == "pooling":
        return baseline.PoolingClassifier(**common, **wide)
    return fusion.FusionClassifier(
        **common,
        **wide,
        heads=tuple(m.heads.items()),
        neutral_head=experiment.loss.neutral_weight > 0,
        mask_padding=m.mask_padding,
    )
