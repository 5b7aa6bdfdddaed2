import dataclasses

import numpy as np
import pytest

from jser.ensemble.logits import Logits
from tests.helpers import simulated_members


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_neither_written_nor_read(rng, tmp_path, value):
    good = simulated_members.said(rng)
    logits = good.logits.copy()
    logits[7, 1] = value
    path = tmp_path / "test.npz"
    message = r"test\.npz: the logits of 1 utterances, e\.g\. 'u00007', are not all"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, logits=logits).save(path)
    assert not path.exists()
    columns = dataclasses.asdict(good) | {"logits": logits}
    np.savez(path, **columns)
    with pytest.raises(ValueError, match=message + ".*jser predict"):
        Logits.load(path)
