"""What a model's card says of it."""

import dataclasses

import pytest

from jser.recognizer import bundle, model_card, models

MODEL = bundle.load(models.find("emodb-functionals"))


@pytest.mark.parametrize(
    ("speakers", "seconds", "told"),
    [
        (1, 1.2, "1 speaker, 1 second;"),
        (2, 60, "2 speakers, 60 seconds;"),
        (0, 90, "unnamed speakers, 2 minutes;"),
    ],
)
def test_one_is_no_plural(speakers, seconds, told):
    about = {**MODEL.about, "utterances": 1, "speakers": speakers, "seconds": seconds}
    alone = dataclasses.replace(MODEL, about=about, members=MODEL.members[:1])
    card = model_card.of(alone)
    assert f"emodb: 1 utterance of {told}" in card
    assert "* 1 network:" in card
