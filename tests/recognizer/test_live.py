"""Segments of a sound that is still being made."""

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest
import soxr

from jser.recognizer import live
from tests.helpers import fake_model
from tests.helpers.fake_model import LABELS, Model, sound

TALK = sound(("sad", 5.0), ("", 5.0), ("angry", 4.0), ("sad", 2.3))


def stream(chunks, model=None, **options):
    return live.stream(chunks, model or Model(), LABELS, **options)


def test_each_hop_has_the_window_that_ends_with_it():
    model = Model()
    found = list(stream(fake_model.blocks(TALK, 1600), model, window_s=2.0))
    assert [s.start_s for s in found] == list(range(17))
    assert [s.end_s for s in found] == [*range(1, 17), 16.3]
    labels = ["sad"] * 5 + [""] * 5 + ["angry"] * 4
    assert [s.label for s in found][:14] == labels
    assert found[-1].label == "sad"
    assert model.lengths == [16_000] + [32_000] * 11
    windows = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (9, 11), (10, 12), (11, 13)]
    for (start, end), s in zip(windows, [s for s in found if s.label], strict=False):
        row = Model()([TALK[start * 16_000 : end * 16_000]])[0]
        assert [s.scores[x] for x in LABELS] == pytest.approx(row)


def test_in_silence_there_is_no_label_and_nothing_is_classified():
    model = Model()
    found = list(stream([np.zeros(40_000, np.float32)], model))
    assert [(s.start_s, s.end_s, s.label) for s in found] == [
        (0.0, 1.0, ""),
        (1.0, 2.0, ""),
        (2.0, 2.5, ""),
    ]
    assert all(s.scores == {} for s in found)
    assert model.batches == []


def test_a_segment_comes_when_its_hop_has_been_heard_and_not_later():
    heard = 0

    def microphone():
        nonlocal heard
        for chunk in fake_model.blocks(TALK, 800):
            heard += len(chunk)
            yield chunk

    for s in stream(microphone()):
        assert heard == round(16_000 * s.end_s)


def test_it_need_not_end():
    def microphone():
        while True:
            yield TALK[:1600]

    segments = stream(microphone())
    assert [next(segments).end_s for _ in range(3)] == [1.0, 2.0, 3.0]


@hypothesis.settings(max_examples=25)
@hypothesis.given(sizes=strategies.lists(strategies.integers(100, 99_000), min_size=1))
def test_however_the_sound_comes_its_segments_are_the_same(sizes):
    cut = np.split(TALK, np.cumsum(sizes)[np.cumsum(sizes) < len(TALK)])
    assert list(stream(cut)) == list(stream([TALK]))


def test_what_has_come_meanwhile_is_classified_together_but_not_all_at_once():
    model = Model()
    found = list(stream([np.tile(TALK[:80_000], 8)], model, hop_s=0.5))
    assert [len(b) for b in model.batches] == [32, 32, 16]
    assert len(found) == 80


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_other_rates(rate_hz):
    chunks = fake_model.blocks(soxr.resample(TALK, 16_000, rate_hz), 1000)
    found = list(stream(chunks, sample_rate_hz=rate_hz))
    assert found[-1].end_s == pytest.approx(16.3, abs=1e-3)
    assert [s.label for s in found] == [s.label for s in stream([TALK])]


def test_channels_are_averaged():
    both = np.stack([2 * TALK, 0 * TALK], 1)
    assert [*stream(fake_model.blocks(both, 999))] == [*stream([TALK])]


@pytest.mark.parametrize("rest", [0, 399, 400])
def test_a_rest_of_less_than_25_ms_has_no_segment(rest):
    found = list(stream([TALK[: 16_000 + rest]]))
    assert len(found) == 1 + (rest >= 400)


def test_unknown():
    assert {s.label for s in stream([TALK], threshold=0.999)} == {"unknown", ""}


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (np.zeros(100, np.int16), "a chunk is int16 .* Divide 16-bit samples by 32768"),
        (np.zeros((1, 2, 3), np.float32), r"of shape \(1, 2, 3\); it must be float"),
        (np.full(100, np.nan, np.float32), "a chunk holds NaN"),
    ],
)
def test_chunks_that_are_no_sound(chunk, why):
    segments = stream([TALK[:16_000], chunk])
    next(segments)
    with pytest.raises(ValueError, match=why):
        next(segments)


def test_bad_options_are_refused_at_once():
    with pytest.raises(ValueError, match="hop_s is 5 and window_s 4"):
        stream([TALK], hop_s=5.0)
    with pytest.raises(ValueError, match="sample_rate_hz is 0"):
        stream([TALK], sample_rate_hz=0)
