"""Names of features in their pieces."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from jser.feature_names import FeatureName

WORD = st.from_regex(r"[a-z0-9_]+", fullmatch=True)


@given(
    st.builds(
        FeatureName,
        front_end=WORD,
        tag=st.one_of(st.just(""), WORD),
        layer=st.sampled_from(["last", "3", "2-4", "1+3+6", "all", "mean_last_4"]),
        trimmed=st.booleans(),
        pooling=st.sampled_from(["", "pooled", "every5", "every50"]),
    )
)
def test_pieces_come_back(name):
    assert FeatureName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "..",
        "a/b",
        "a@",
        "a@..",
        "a.pooled.every5",
        "a.every",
        "a-b-c",
        "a@2-",
    ],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="does not read as name-tag@layer"):
        FeatureName.parse(text)
