import dataclasses

import numpy as np
import pytest

from jser.data import members, speakers
from jser.data.corpus import open_corpus
from jser.data.split import Split
from jser.features.store import FeatureSet
from tests.helpers import tiny_corpus


@pytest.fixture(scope="module")
def opened(corpus):
    data = tiny_corpus.experiment().data
    data.standardize, data.adapt = ("speech",), "speaker"
    return open_corpus(corpus, data)


def frames_of(split: Split, speaker: str, stream: str = "speech") -> np.ndarray:
    rows = [i for i, u in enumerate(split.utterances) if u.speaker == speaker]
    return np.concatenate(split.read(np.array(rows))[stream]).astype(np.float64)


def test_every_speakers_frames_are_of_mean_0_and_deviation_1(opened):
    split = opened.train()
    for speaker in ("a", "b", "c"):
        frames = frames_of(split, speaker)
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=2e-3)
        np.testing.assert_allclose(frames.std(axis=0), 1, atol=2e-3)


def test_other_streams_and_runs_read_what_is_stored(opened):
    split, rows = opened.train(), np.arange(6)
    plain = dataclasses.replace(split, adapted=())
    for a, b in zip(split.read(rows)["text"], plain.read(rows)["text"], strict=True):
        np.testing.assert_array_equal(a, b)
    (speech, *_), (stored, *_) = split.read(rows)["speech"], plain.read(rows)["speech"]
    assert speech.dtype == stored.dtype == np.float16
    assert np.abs(speech.astype(float) - stored).max() > 0.5


def test_who_is_read_with_whom_changes_nothing(opened):
    split = opened.train()
    rows = np.array([30, 2, 17])
    together = split.read(rows)["speech"]
    for row, x in zip(rows, together, strict=True):
        np.testing.assert_array_equal(split.read(np.array([row]))["speech"][0], x)
    (read,) = members._read_once([(split, rows)])
    for a, b in zip(read["speech"], together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_are_read_once_and_only_if_needed(opened, monkeypatch):
    calls = []
    scalings = speakers.scalings
    counted = lambda *a: calls.append(a) or scalings(*a)
    monkeypatch.setattr(speakers, "scalings", counted)
    split = opened.split("dev")
    assert not calls
    for _ in range(2):
        split.read(np.arange(3))
    assert len(calls) == 1


class Stored(FeatureSet):
    """In the place of features: frames of layers, one column constant and large."""

    def __init__(self, rng):
        self.frames = [
            (rng.standard_normal((n, 2, 3)) * (0.1, 1, 0) + (60, 0, 900)).astype(
                np.float16
            )
            for n in rng.integers(1, 9, 150)
        ]

    def read(self, records):
        return [self.frames[r] for r in records]


def test_offsets_far_larger_than_what_varies(rng):
    stored = Stored(rng)
    record = rng.permutation(150)
    who = [f"s{k % 4}" for k in range(150)]
    found = speakers.scalings(stored, record, who)
    for speaker in sorted(set(who)):
        mine = [r for r, s in zip(record, who, strict=True) if s == speaker]
        frames = np.concatenate([stored.frames[r] for r in mine]).astype(np.float64)
        scaling = found[speaker]
        np.testing.assert_allclose(
            scaling.mean, frames.mean(axis=0), rtol=1e-5, atol=1e-5
        )
        want = np.where(frames.std(axis=0) > 0, frames.std(axis=0), 1)
        np.testing.assert_allclose(scaling.deviation, want, rtol=1e-5)
        assert not scaling(stored.frames[mine[0]])[..., 2].any()


def test_unknown_speakers_are_refused(opened):
    rows = opened.table.select("dev")
    rows = [dataclasses.replace(rows[0], speaker=""), *rows[1:]]
    join = lambda adapted: Split.join(opened.table, rows, opened.streams, adapted)
    with pytest.raises(ValueError, match=r"data\.adapt: 'speaker' needs .* and 1 of"):
        join(("speech",))
    assert len(join(())) == len(rows)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adapt": "target"}, "data.adapt: 'target' is not one of none, speaker"),
        ({"adapt": "speaker"}, "data.adapt: 'speaker' must be 'none' where data.stand"),
    ],
)
def test_what_a_config_may_say(fields, message):
    experiment = tiny_corpus.experiment()
    experiment.data = dataclasses.replace(experiment.data, **fields)
    with pytest.raises(ValueError, match=message):
        experiment.check()


def test_older_configs_adapt_to_nobody():
    experiment = tiny_corpus.experiment()
    value = experiment.to_dict()
    del value["data"]["adapt"]
    assert type(experiment).from_dict(value) == experiment
