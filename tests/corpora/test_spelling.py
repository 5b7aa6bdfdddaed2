import pytest

from jser.corpora import spelling


@pytest.mark.parametrize(
    ("names", "merges"),
    [
        (["angry", "Angry", "ANG", "sad"], {"Angry": "angry", "ANG": "angry"}),
        (["ANG", "Ang"], {"ANG": "angry", "Ang": "angry"}),
        (["Froh", "froh"], {"Froh": "froh"}),
        (["gru\u0308n", "gr\u00fcn"], {"gru\u0308n": "gr\u00fcn"}),
        (["angry", "anguish", "A", "sad", "Neutral"], {}),
    ],
)
def test_spellings_of_one_name_are_merged_into_it(names, merges):
    assert spelling.merges(names) == merges
