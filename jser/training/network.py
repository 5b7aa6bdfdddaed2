"""The network of an experiment."""

from flax import linen as nn

from jser.config import Experiment
from jser.models import baseline, fusion

_DTYPES = {"float32": "float32", "bf16": "bfloat16"}


def make_model(experiment: Experiment, classes: int) -> nn.Module:
    """The network of an experiment: a `FusionClassifier` or a `PoolingClassifier`."""
    m = experiment.model
    common = {
        "streams": tuple(experiment.data.streams),
        "classes": classes,
        "hidden": m.hidden,
        "dropout": m.dropout,
        "standardize": experiment.data.standardize,
        "dtype": _DTYPES[experiment.precision],
    }
    if m.kind == "pooling":
        return baseline.PoolingClassifier(**common)
    return fusion.FusionClassifier(
        **common,
        heads=tuple(m.heads.items()),
        neutral_head=experiment.loss.neutral_weight > 0,
        mask_padding=m.mask_padding,
    )
