"""Silence at both ends of a sound."""

import numpy as np
import pytest
import soundfile

from jser.corpora import prepare
from jser.features import pooling, store, trimming, verify
from jser.features.extract import extract
from jser.roots import Roots
from tests.helpers import fake_encoder, tiny_corpus


def noise(seconds, level=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(round(16000 * seconds))).astype(np.float32)


@pytest.mark.parametrize("background", [0.0, 0.01])
@pytest.mark.parametrize("level", [1e-3, 0.3])
def test_silence_is_cut_at_both_ends_and_not_within(background, level):
    pieces = (0.5, background), (0.4, 1), (0.3, background), (0.2, 1), (0.7, background)
    sound = level * np.concatenate([noise(*piece) for piece in pieces])
    start, stop = trimming.speech_span(sound)
    assert abs(start / 16000 - 0.5) <= 0.025
    assert abs(stop / 16000 - 1.4) <= 0.025


@pytest.mark.parametrize("samples", [400, 401, 479, 480, 8000, 8079])
@pytest.mark.parametrize("level", [0.0, 1e-9, 0.1])
def test_what_is_alike_from_end_to_end_stays_whole(samples, level):
    sound = np.full(samples, level, np.float32)
    assert trimming.speech_span(sound) == (0, samples)


def test_a_click_leaves_a_frame():
    sound = np.zeros(16000, np.float32)
    sound[7000] = 1.0
    start, stop = trimming.speech_span(sound)
    assert start <= 7000 < stop
    assert 400 <= stop - start <= 800


def test_cuts_are_stored_and_reused(tmp_path):
    source = tiny_corpus.make(tmp_path / "source")
    for path in source.parent.glob("*.wav"):
        sound, rate_hz = soundfile.read(path)
        ends = np.zeros(8000), sound, np.zeros(4000)
        soundfile.write(path, np.concatenate(ends), rate_hz)
    table = prepare.prepare("csv", source, tmp_path / "data" / "small")
    features = tmp_path / "features"
    whole = extract(table, fake_encoder.front_end(name="whole"), features)
    trimmed = fake_encoder.front_end(trimmed=True)
    made = extract(table, trimmed, features)
    for u in table.utterances:
        start, stop = made.span(made.record[u.utt_id])
        assert abs(start - 8000) <= 400
        assert abs(stop - (16000 * (u.seconds or 0) - 4000)) <= 400
        assert made.length[made.record[u.utt_id]] == (stop - start) // 320
        assert whole.span(whole.record[u.utt_id]) == (0, 0)
    # Another table over the same sounds has the same cuts, though they are gone.
    other = prepare.prepare("csv", source, tmp_path / "data" / "other")
    for u in other.utterances:
        other.audio_path(u).unlink()
    copied = extract(other, trimmed, features)
    for u in other.utterances:
        assert copied.span(copied.record[u.utt_id]) == made.span(made.record[u.utt_id])
    assert not verify.verify(copied.folder)


def test_two_features_of_one_front_end_lie_side_by_side(tmp_path):
    roots = Roots(data=tmp_path / "data", features=tmp_path / "f", runs=tmp_path / "r")
    source = tiny_corpus.make(tmp_path / "source")
    table = prepare.prepare("csv", source, roots.data / "small")
    streams = {s: f"char_ngrams{s}" for s in ("", ".pooled", ".every2")}
    for name in streams.values():
        extract(table, name, roots.features)
    opened = store.open_streams(roots.features, "small", streams)
    for record in range(len(table.utterances)):
        plain, pooled, every = (opened[s].read([record])[0] for s in streams)
        want = pooling.pool(plain.astype(np.float32), "pooled")
        np.testing.assert_allclose(pooled, want, atol=1e-3)  # Both are rounded.
        assert (pooled.shape, len(every)) == ((1, 1024), -(-len(plain) // 2))
    with pytest.raises(FileNotFoundError, match=r"--frontend logmel.trimmed\."):
        store.open_streams(roots.features, "small", {"a": "logmel.trimmed"})
