"""Timelines of tones, by a model that hears how high they are."""

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from jser.recognizer import timeline
from tests.helpers import fake_model
from tests.helpers.fake_model import LABELS, Model, sound

CALL = sound(
    *(("sad", 6.0), ("angry", 8.0), ("", 5.0), ("angry", 4.0), ("neutral", 3.3))
)


def told(segments) -> list[tuple[float, float, str]]:
    return [(s.start_s, s.end_s, s.label) for s in segments]


def windows(samples, model=None, *, size=16_000, **options):
    blocks = fake_model.blocks(samples, size)
    return timeline.of_windows(blocks, model or Model(), LABELS, **options)


# Windows.


def test_windows_that_are_hops_tell_what_is_there():
    assert told(windows(CALL, window_s=1.0)) == [
        (0.0, 6.0, "sad"),
        (6.0, 14.0, "angry"),
        (19.0, 23.0, "angry"),
        (23.0, 26.3, "neutral"),
    ]


def test_scores_are_all_of_them_likeliest_first_and_sum_to_one():
    for s in windows(CALL):
        assert set(s.scores) == set(LABELS)
        assert list(s.scores.values()) == sorted(s.scores.values(), reverse=True)
        assert sum(s.scores.values()) == pytest.approx(1)
        assert s.label == next(iter(s.scores))
        assert s.speaker == ""


def test_attributes_are_averaged_as_the_scores_and_name_nothing():
    """By hand: two windows of one emotion; attributes are larger than its share."""
    noise = np.random.default_rng(0).uniform(-1, 1, 24_000).astype(np.float32)
    model = lambda xs: np.array([[0.2, 0.5, 0.3, 3 + x[0], 5.0, 7.0] for x in xs])
    (whole,) = windows(noise, model, window_s=1.0, hop_s=1.0)
    means = [3 + noise[0], 3 + noise[8_000]]  # The last window ends with the sound.
    want = (16_000 * means[0] + 8_000 * means[1]) / 24_000
    assert whole.attributes["arousal"] == pytest.approx(want, abs=1e-6)
    assert (whole.attributes["valence"], whole.attributes["dominance"]) == (5, 7)
    assert (whole.label, set(whole.scores)) == (LABELS[1], set(LABELS))
    (unsure,) = windows(noise, model, window_s=1.0, hop_s=1.0, threshold=0.6)
    assert unsure.label == "unknown"


@hypothesis.given(
    samples=strategies.integers(400, 12_000),
    hop=strategies.integers(400, 4_000),
    more=strategies.integers(0, 4_000),
)
def test_hops_have_the_mean_of_the_windows_that_hold_them(samples, hop, more):
    """By hand: noise, and a model of which every window is another's."""
    window = hop + more
    noise = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    model = lambda xs: np.array([[1 + x[0], 1 + x[-1], 1] for x in xs]) / 3
    starts = {*range(0, max(0, samples - window), hop), max(0, samples - window)}
    given = [(i, min(i + window, samples)) for i in sorted(starts)]
    held = []  # Start, end, label and probabilities of hops, and then of segments.
    for start in range(0, samples, hop):
        end = min(start + hop, samples)
        rows = [model([noise[a:b]])[0] for a, b in given if a <= start and end <= b]
        p = np.mean(rows, axis=0)
        if held and held[-1][2] == p.argmax():
            first, _, label, weighted = held.pop()
            held.append((first, end, label, weighted + (end - start) * p))
        else:
            held.append((start, end, p.argmax(), (end - start) * p))
    found = windows(
        noise, model, size=1_000, window_s=window / 16_000, hop_s=hop / 16_000
    )
    assert told(found) == [(a / 16_000, b / 16_000, LABELS[i]) for a, b, i, _ in held]
    for s, (start, end, _, weighted) in zip(found, held, strict=True):
        want = weighted / (end - start)
        assert [s.scores[x] for x in LABELS] == pytest.approx(want)


def test_a_segment_has_the_mean_of_its_hops_by_their_length():
    model = lambda xs: np.array([[x[0], 1 - x[0]] for x in xs], float)
    samples = np.repeat(np.float32([0.9, 0.7, 0.8]), [16_000, 16_000, 4_000])
    (found,) = timeline.of_windows(
        [samples], model, ("a", "b"), window_s=1.0, hop_s=1.0
    )
    # The last window, from 1.25 to 2.25 s, begins with 0.7.
    assert found.scores["a"] == pytest.approx((0.9 + 0.7 + 0.25 * 0.7) / 2.25)
    assert told([found]) == [(0.0, 2.25, "a")]


def test_below_the_threshold_it_is_unknown():
    model = lambda xs: np.tile([0.5, 0.3, 0.2], (len(xs), 1))
    samples = sound(("sad", 3.0))
    assert told(windows(samples, model, threshold=0.6)) == [(0.0, 3.0, "unknown")]
    assert told(windows(samples, model, threshold=0.5)) == [(0.0, 3.0, "sad")]


def test_all_windows_are_equally_long_and_silent_ones_are_not_classified():
    model = Model()
    found = windows(
        sound(("sad", 5.0), ("", 30.0), ("angry", 5.5)), model, window_s=4.0
    )
    assert set(model.lengths) == {64_000}
    # 5 that begin in the first part, and those that reach into the second.
    assert len(model.lengths) == 5 + 6
    assert [s.label for s in found] == ["sad", "angry"]
    assert (found[0].end_s, found[1].start_s) == (5.0, 35.0)


@pytest.mark.parametrize("seconds", [0.025, 0.5, 3.99, 4.0])
def test_a_short_recording_is_one_window(seconds):
    model = Model()
    found = windows(sound(("angry", seconds)), model)
    assert model.lengths == [round(16_000 * seconds)]
    assert told(found) == [(0.0, seconds, "angry")]


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_25_ms_is_refused(samples):
    with pytest.raises(ValueError, match=f"^{samples} samples at 16 kHz; the least"):
        windows(sound(("sad", 1.0))[:samples])


def test_in_silence_there_is_nothing():
    model = Model()
    assert windows(np.zeros(160_000, np.float32), model) == []
    assert timeline.of_pauses([np.zeros(160_000, np.float32)], model, LABELS) == []
    assert model.batches == []


@pytest.mark.parametrize(
    ("window_s", "hop_s"),
    [(4, 5), (4, 0.02), (0, 0), (4, -1), (np.nan, 1), (4, np.nan), (np.inf, 1)],
)
def test_lengths_that_are_none_are_refused(window_s, hop_s):
    with pytest.raises(ValueError, match=r"a hop has 0\.025 s or more"):
        windows(CALL, window_s=window_s, hop_s=hop_s)


def test_blocks_must_be_there_twice():
    once = iter(fake_model.blocks(CALL, 16_000))
    with pytest.raises(ValueError, match="must be there twice"):
        timeline.of_windows(once, Model(), LABELS)


# Properties of all three ways.

WAYS = {
    "windows": timeline.of_windows,
    "pauses": timeline.of_pauses,
    "segments": lambda *given: timeline.of_segments(
        *given, [(0.5, 25.9, "a"), (20.0, 26.3, "b"), (1.0, 2.0, "a")]
    ),
}


@pytest.mark.parametrize("way", WAYS)
@hypothesis.settings(max_examples=25)
@hypothesis.given(sizes=strategies.lists(strategies.integers(1, 200_000), min_size=1))
def test_however_a_sound_is_cut_into_blocks_its_timeline_is_the_same(way, sizes):
    hypothesis.assume(sum(sizes) > 1_000 * len(sizes))
    edges = np.cumsum(sizes * (len(CALL) // sum(sizes) + 1))
    cut = np.split(CALL, edges[edges < len(CALL)])
    assert WAYS[way](cut, Model(), LABELS) == WAYS[way]([CALL], Model(), LABELS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", [1, 3])
def test_no_part_depends_on_those_of_its_batch(monkeypatch, way, batch):
    whole = WAYS[way]([CALL], Model(), LABELS)
    monkeypatch.setattr(timeline, "BATCH", batch)
    model = Model()
    assert WAYS[way]([CALL], model, LABELS) == whole
    assert max(map(len, model.batches)) <= batch


@hypothesis.given(
    spans=strategies.lists(
        strategies.tuples(strategies.integers(0, 900), strategies.integers(1, 99)),
        max_size=70,
    ),
    size=strategies.integers(1, 1200),
)
def test_parts_are_what_lies_between_their_ends(spans, size):
    samples = np.arange(1000, dtype=np.float32)
    model = lambda xs: np.array([[x[0], x[-1]] for x in xs], float)
    given = [(start, start + length) for start, length in spans]
    rows = timeline.classify(fake_model.blocks(samples, size), given, model)
    np.testing.assert_array_equal(
        rows.reshape(-1, 2), np.array([(a, b - 1) for a, b in given]).reshape(-1, 2)
    )


# Between pauses.


def pauses(samples, model=None, **options):
    return timeline.of_pauses([samples], model or Model(), LABELS, **options)


def near(segments, *wanted):
    assert [s.label for s in segments] == [label for _, _, label in wanted]
    for s, (start, end, _) in zip(segments, wanted, strict=True):
        assert (s.start_s, s.end_s) == pytest.approx((start, end), abs=0.021)


def test_each_stretch_between_pauses_is_a_segment():
    found = pauses(sound(("", 0.7), ("sad", 2.0), ("", 0.6), ("sad", 1.0), ("", 1.0)))
    near(found, (0.7, 2.7, "sad"), (3.3, 4.3, "sad"))


def test_short_pauses_are_bridged_and_clicks_are_none():
    parts = [("sad", 1.0), ("", 0.4), ("sad", 1.0), ("", 1.0), ("sad", 0.2), ("", 2.0)]
    near(pauses(sound(*parts, ("angry", 1.0))), (0, 2.4, "sad"), (5.6, 6.6, "angry"))


def test_speech_goes_to_the_very_end():
    samples = sound(("", 1.0), ("sad", 1.0123))
    assert pauses(samples)[-1].end_s == len(samples) / 16_000


def test_long_speech_is_cut_where_it_is_softest():
    samples = sound(("sad", 40.0))
    samples[16_000 * 11 : 16_000 * 11 + 640] *= 0.1  # Soft, and no silence.
    model = Model()
    found = pauses(samples, model)
    near(found[:1], (0.0, 11.02, "sad"))
    assert all(0.3 <= s.end_s - s.start_s <= 15.0 for s in found)
    assert found[-1].end_s == 40.0
    assert [a.end_s for a in found[:-1]] == [b.start_s for b in found[1:]]


def test_unknown_between_pauses():
    assert {s.label for s in pauses(CALL, threshold=0.999)} == {"unknown"}


# Of a diariser.


def given(segments, samples=CALL, model=None, **options):
    return timeline.of_segments(
        [samples], model or Model(), LABELS, segments, **options
    )


def test_each_given_segment_has_one():
    wanted = [(6.0, 13.0, "anna"), (0.0, 5.0, "bo"), (5.0, 6.0, "bo"), (12.0, 14.0, "")]
    found = given(wanted)
    assert [(s.start_s, s.end_s, s.speaker) for s in found] == sorted(wanted)
    assert [s.label for s in found] == ["sad", "sad", "angry", "angry"]
    assert given([]) == []


def test_of_silence_the_given_segment_is_classified_all_the_same():
    assert len(given([(15.0, 18.0, "a")])) == 1


def test_a_long_segment_has_the_mean_of_its_pieces():
    samples, model = sound(("sad", 30.0), ("angry", 12.0)), Model()
    (found,) = given([(0.0, 42.0, "a")], samples, model)
    assert len(model.lengths) > 2
    assert max(model.lengths) <= 15 * 16_000
    assert sum(model.lengths) == len(samples)
    assert found.label == "sad"
    rows, weights = [], []
    for start in np.cumsum([0, *model.lengths[:-1]]):
        length = model.lengths[len(rows)]
        rows.append(Model()([samples[start : start + length]])[0])
        weights.append(length)
    want = np.average(rows, axis=0, weights=weights)
    for label, p in zip(LABELS, want, strict=True):
        assert found.scores[label] == pytest.approx(p)


def test_less_than_25_ms_is_left_out_with_a_warning(monkeypatch):
    told = []
    monkeypatch.setattr(
        timeline.logging, "warning", lambda *x: told.append(x[0] % x[1])
    )
    found = given([(1.0, 1.02, "a"), (2.0, 2.025, "b"), (3.0, 3.0, "c")])
    assert [s.speaker for s in found] == ["b"]
    assert told == ["segments of less than 25 ms, which are left out: 2"]


def test_an_end_may_be_rounded():
    (found,) = given([(20.0, 26.6, "a")])
    assert found.end_s == 26.3


@pytest.mark.parametrize(
    ("segment", "why"),
    [
        ((2.0, 1.0, "a"), "from 2 to 1 s; it starts at 0 or later and ends after"),
        ((-1.0, 1.0, "a"), "from -1 to 1 s; it starts at 0"),
        ((np.nan, 1.0, "a"), "from nan to 1 s"),
        ((0.0, np.inf, "a"), "from 0 to inf s"),
        ((20.0, 26.9, "a"), r"the sound has 26\.30 s\. Give the segments of this rec"),
    ],
)
def test_segments_that_cannot_be_are_refused(segment, why):
    with pytest.raises(ValueError, match=why):
        given([segment])
