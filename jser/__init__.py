"""Speech emotion recognition in JAX/Flax. Importing `jser` alone imports no JAX.

What it hands out is imported when it is first asked for; docs/python.md has examples.
"""

import importlib
import typing

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from jser.config import Ensemble as Ensemble
    from jser.config import Experiment as Experiment
    from jser.corpora.prepare import prepare as prepare
    from jser.corpora.tables import Table as Table
    from jser.corpora.tables import read as read_table
    from jser.corpora.utterances import Utterance as Utterance
    from jser.encoders import load as load_encoder
    from jser.ensemble.logits import Logits as Logits
    from jser.features.extract import extract as extract
    from jser.features.frontends import open as open_front_end
    from jser.features.store import FeatureSet as FeatureSet
    from jser.pipeline import run as run
    from jser.recipes import load as load_config
    from jser.recipes import load_ensemble as load_ensemble
    from jser.recognizer.recognizer import Recognizer as Recognizer
    from jser.roots import Roots as Roots
    from jser.training.predict import predict as predict
    from jser.training.train import train as train

# Where each public name lies.
_PUBLIC = {
    "Ensemble": "jser.config:Ensemble",
    "Experiment": "jser.config:Experiment",
    "FeatureSet": "jser.features.store:FeatureSet",
    "Logits": "jser.ensemble.logits:Logits",
    "Recognizer": "jser.recognizer.recognizer:Recognizer",
    "Roots": "jser.roots:Roots",
    "Table": "jser.corpora.tables:Table",
    "Utterance": "jser.corpora.utterances:Utterance",
    "extract": "jser.features.extract:extract",
    "load_config": "jser.recipes:load",
    "load_encoder": "jser.encoders:load",
    "load_ensemble": "jser.recipes:load_ensemble",
    "open_front_end": "jser.features.frontends:open",
    "predict": "jser.training.predict:predict",
    "prepare": "jser.corpora.prepare:prepare",
    "read_table": "jser.corpora.tables:read",
    "run": "jser.pipeline:run",
    "train": "jser.training.train:train",
}


def __getattr__(name: str) -> typing.Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jser' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
