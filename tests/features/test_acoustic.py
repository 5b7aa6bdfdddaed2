"""Long sounds are analysed in pieces, and nobody can tell."""

import numpy as np
import pytest

from jser.corpora import voice
from jser.features import acoustic
from tests.features.test_frontends import MANNER

FRONT_ENDS = (acoustic.logmel, acoustic.mfcc, acoustic.prosody)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """12 seconds; no piece of 200 frames ends where it would suit."""
    rng = np.random.default_rng(0)
    said = [voice.speak("mamama lolomo nana", MANNER, rng) for _ in range(16)]
    return np.concatenate(said)[: 12 * 16_000 + 7]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("samples", [64_000, 64_007, 64_320, 192_007])
def test_frames_of_pieces_are_those_of_the_whole(
    speech, front_end, samples, monkeypatch
):
    whole = front_end(speech[:samples])
    monkeypatch.setattr(acoustic, "_PIECE", 200)
    np.testing.assert_allclose(front_end(speech[:samples]), whole, atol=1e-5)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_no_more_than_a_piece_is_analysed_at_once(speech, front_end, monkeypatch):
    seen, power = [], acoustic._power
    monkeypatch.setattr(acoustic, "_PIECE", 200)
    monkeypatch.setattr(acoustic, "_power", lambda x: seen.append(len(x)) or power(x))
    front_end(speech)
    assert len(seen) == 4
    assert max(seen) <= (200 + 2 * acoustic._CONTEXT) * acoustic.HOP
