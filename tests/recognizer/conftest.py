"""A hub for the tests of models that come from one and go to one."""

import pytest

from tests.helpers import fake_hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with fake_hub.answering(monkeypatch, tmp_path / "hub") as answering:
        yield answering
