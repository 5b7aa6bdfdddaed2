"""Fixtures shared by the tests."""

import os

# A third of the suite's time is XLA's optimising of programs that run for milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

from absl import flags
import hypothesis
import numpy as np
import pytest

from jser import audio
from jser.config import Experiment
from jser.corpora import prepare
from jser.features import frontends
from jser.features.extract import extract
from jser.roots import Roots
from jser.training import compilation
from tests.helpers import tiny_corpus

flags.FLAGS.mark_as_parsed()  # grain reads absl flags.
# A busy machine is no fault of the code. `make full` takes the second profile.
hypothesis.settings.register_profile("some", deadline=None)
hypothesis.settings.register_profile("full", deadline=None, max_examples=5000)
hypothesis.settings.load_profile("some")


def pytest_configure(config) -> None:
    """Before workers start, makes what librosa compiles and keeps on disk.

    Where several make it at the same time, as after an installation, it stays broken.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        silence = np.zeros(audio.SAMPLE_RATE_HZ, np.float32)
        for name in ("logmel", "mfcc", "prosody", "functionals"):
            frontends.get(name).load()([silence])


@pytest.fixture(autouse=True, scope="module")
def programs():
    """A worker runs many modules, and their programs would fill it."""
    yield
    compilation.free_programs()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Roots:
    """A small corpus of tones with its features, in train, dev and test; read-only."""
    home = tmp_path_factory.mktemp("corpus")
    roots = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    source = tiny_corpus.make(home / "source")
    table = prepare.prepare("csv", source, roots.data / "small", policy="given")
    for front_end in ("logmel", "char_ngrams"):
        extract(table, front_end, roots.features, workers=1)
    return roots


@pytest.fixture
def experiment() -> Experiment:
    return tiny_corpus.experiment()
