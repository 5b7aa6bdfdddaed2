"""Small forests for the tests of this room."""

import pytest
import threadpoolctl

from jser.ensemble import combiners


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    """Five times 200 trees take seconds, as do threads that wait for each other."""
    for kind in ("paper", "oof"):
        monkeypatch.setitem(combiners.SETTINGS[kind], "n_estimators", 12)
    monkeypatch.setitem(combiners.SETTINGS["boosting"], "max_iter", 5)
    with threadpoolctl.threadpool_limits(1):
        yield
