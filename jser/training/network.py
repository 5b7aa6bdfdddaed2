"""The network of an experiment."""

import contextlib

from flax import linen as nn
import jax

from jser.config import Experiment
from jser.data import targets
from jser.encoders.in_program import SoundEncoder
from jser.models import baseline, deep, fusion, probe
from jser.training import tuned
from jser.training.tuned import TunedNetwork

AnyNetwork = nn.Module | TunedNetwork

_DTYPES = {"float32": "float32", "tf32": "float32", "bf16": "bfloat16"}


def make_model(
    experiment: Experiment, classes: int, encoder: SoundEncoder | None = None
) -> AnyNetwork:
    """The network of an experiment, by `model.kind`: docs/model.md has them.

    Args:
      experiment: A checked config.
      classes: Number of emotions.
      encoder: That learns, below the network, if one does.
    """
    if encoder is None:
        return _network(experiment, classes)
    return tuned.network(experiment, _network(experiment, classes), encoder)


def _network(experiment: Experiment, classes: int) -> nn.Module:
    m = experiment.model
    common = {
        "streams": tuple(experiment.data.streams),
        "classes": classes,
        "dropout": m.dropout,
        "standardize": experiment.data.standardize,
        "layers": m.layers,
        "extra": tuple(
            (task, at.stop - at.start)
            for task, at in targets.columns(experiment.tasks, classes).items()
            if task != targets.EMOTION
        ),
    }
    if m.kind == "probe":
        return probe.LinearProbe(**common)
    wide = {"hidden": m.hidden, "dtype": _DTYPES[experiment.precision]}
    if m.kind == "pooling":
        return baseline.PoolingClassifier(**common, **wide)
    if m.kind == "deep":
        return deep.DeepClassifier(**common, **wide)
    return fusion.FusionClassifier(
        **common,
        **wide,
        heads=tuple(m.heads.items()),
        neutral_head=experiment.loss.neutral_weight > 0,
        mask_padding=m.mask_padding,
    )


def products(precision: str = "float32") -> contextlib.AbstractContextManager[None]:
    """While a program is traced: what becomes of the products of its float32 arrays.

    Accelerators round what they multiply unless asked not to: to ten bits of mantissa
    on a GPU (TF32), to seven, in one pass or several, on a TPU. "tf32" lets them, where
    that is as good as TF32; all else is float32. On CPUs it changes nothing.
    """
    rounded = precision == "tf32"
    return jax.default_matmul_precision("tensorfloat32" if rounded else "highest")
