"""Fixtures of this room."""

import pytest

from jser.corpora import tables
from jser.features import shards
from tests.helpers import fake_encoder


@pytest.fixture
def many_shards(monkeypatch):
    """Shards of few utterances."""
    monkeypatch.setattr(shards, "_BATCH", 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> tables.Table:
    return fake_encoder.corpus(tmp_path_factory.mktemp("data") / "noise", 64)


@pytest.fixture
def own_table(tmp_path) -> tables.Table:
    """One whose sounds a test may spoil."""
    return fake_encoder.corpus(tmp_path / "data" / "noise", 32)
