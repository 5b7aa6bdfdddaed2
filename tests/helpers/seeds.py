"""How often a random test is drawn."""

import pytest


def seeds(few: int, many: int) -> list:
    """Values for `parametrize`: the first `few` as ever, `many` in `make full`."""
    more = (pytest.param(k, marks=pytest.mark.full) for k in range(few, many))
    return [*range(few), *more]
