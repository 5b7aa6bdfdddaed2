"""Sound in the shards, as it is read in training."""

import dataclasses

import jax
import numpy as np
import pytest

from jser.config import Tune
from jser.corpora import tables
from jser.data import batches
from jser.data.collation import WHOLE, Share
from jser.data.corpus import open_corpus
from jser.features.extract import extract
from tests.helpers import tiny_corpus

EVERYTHING = {
    **{"crop_s": 0.25, "speed": 0.1, "background": 0.5, "other_voice": 0.5},
    **{"room": 0.5, "band": 0.5, "codec": 0.5},
}


@pytest.fixture(scope="module")
def roots(corpus, tmp_path_factory):
    made = dataclasses.replace(corpus, features=tmp_path_factory.mktemp("features"))
    table = tables.read(corpus.data / "small")
    for name in ("waveform", "logmel", "char_ngrams"):
        extract(table, name, made.features, workers=1)
    return made


def opened(roots, share=WHOLE, seed=1, longest_s=0.6, **augment):
    c = tiny_corpus.experiment()
    c.data.streams = {"speech": "waveform", "frames": "logmel", "text": "char_ngrams"}
    c.data.longest_s, c.tune = longest_s, Tune(encoder="wavlm")
    for name, value in augment.items():
        setattr(c.augment, name, value)
    corpus = open_corpus(roots, c.check().data, speed=c.augment.speed)
    split = corpus.train()
    target = split.target(corpus.table.labels)
    return batches.TrainBatches(
        *(split, target, corpus.buckets, c.data, c.augment),
        **{"seed": seed, "epochs": 2, "share": share},
    )


def lengths(batch, stream="speech"):
    return np.asarray(batch.streams[stream].mask).sum(axis=1)


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_sound_is_read_as_it_is_stored(roots):
    source = opened(roots)
    batch, rows = source[0], source.rows(0)
    stored = source.split.read(rows)["speech"]
    assert all(len(x) <= 9_600 for x in stored)
    assert max(source.split.length["speech"]) == 9_600  # Some are longer.
    assert batch.streams["speech"].x.shape[2:] == (1,)
    for got, x in zip(batch.streams["speech"].x, stored, strict=False):
        np.testing.assert_array_equal(got[: len(x)], x)
        assert not got[len(x) :].any()


def test_a_batch_is_a_function_of_seed_and_step(roots):
    one, other = (opened(roots, **EVERYTHING) for _ in range(2))
    forward = [one[i] for i in range(len(one))]
    for i in reversed(range(len(one))):
        equal(forward[i], other[i])
    sound = opened(roots, seed=2, **EVERYTHING)[0].streams["speech"].x
    assert not np.array_equal(sound, forward[0].streams["speech"].x)
    whole = opened(roots)[0].streams
    changed = forward[0].streams
    np.testing.assert_array_equal(whole["text"].x, changed["text"].x)


def test_processes_that_share_a_batch_see_what_one_would(roots):
    whole = opened(roots, **EVERYTHING)[1]
    shares = [opened(roots, Share(i, 2), **EVERYTHING)[1] for i in range(2)]
    equal(jax.tree.map(lambda *x: np.concatenate(x), *shares), whole)


def test_a_crop_is_a_part_of_the_sound_drawn_anew(roots):
    plain, cropped = opened(roots), opened(roots, crop_s=0.25)
    n, starts = 4_000, set()
    for i in range(len(plain)):
        assert (lengths(cropped[i]) == np.minimum(lengths(plain[i]), n)).all()
        np.testing.assert_array_equal(
            lengths(plain[i], "frames"), lengths(cropped[i], "frames")
        )
        for full, part in zip(
            plain[i].streams["speech"].x[..., 0],
            cropped[i].streams["speech"].x[..., 0],
            strict=True,
        ):
            part = np.asarray(part)[:n]
            at = [
                k for k in range(len(full) - n) if np.array_equal(full[k : k + n], part)
            ]
            starts.update(at)
            assert at or not np.any(part[-1])
    assert len(starts) > 5


def test_speed_changes_sound_and_frames_alike(roots):
    source = opened(roots, longest_s=1.0, speed=0.2)
    batch, rows = source[0], source.rows(0)
    ratio = {
        s: lengths(batch, s)[: len(rows)] / source.split.length[s][rows]
        for s in ("speech", "frames", "text")
    }
    assert ratio["speech"].std() > 0.02
    np.testing.assert_allclose(ratio["speech"], ratio["frames"], atol=0.05)
    np.testing.assert_array_equal(ratio["text"], 1)


def test_a_second_clip_is_heard_and_its_target_counts_as_much(roots):
    plain, mixed = opened(roots), opened(roots, second_clip=0.5)
    changed = 0
    for index in range(3):
        one, two = plain[index], mixed[index]
        np.testing.assert_array_equal(lengths(one), lengths(two))
        np.testing.assert_array_equal(one.streams["frames"].x, two.streams["frames"].x)
        rows = mixed.rows(index)
        second = mixed._changes.second(index, len(rows))
        for place, other in enumerate(second):
            n = lengths(one)[place]
            a, b = (np.asarray(x.streams["speech"].x)[place, :n] for x in (one, two))
            own = np.eye(3)[mixed.split.label[rows[place]]]
            if other < 0:
                np.testing.assert_array_equal(a, b)
                np.testing.assert_array_equal(two.target[place], own)
                continue
            changed += 1
            theirs = np.eye(3)[mixed.split.label[other]]
            np.testing.assert_allclose(two.target[place], (own + theirs) / 2)
            rest = b.astype(float) - a
            assert np.mean(rest**2) == pytest.approx(
                np.mean(a.astype(float) ** 2), rel=0.02
            )
    assert 10 < changed < 30


def test_who_is_mixed_depends_on_step_and_place_alone(roots):
    whole = opened(roots, second_clip=0.5)[1]
    for k in range(2):
        share = opened(roots, share=Share(k, 2), second_clip=0.5)[1]
        half = slice(8 * k, 8 * k + 8)
        np.testing.assert_array_equal(share.target, whole.target[half])
        n = share.streams["speech"].x.shape[1]
        np.testing.assert_array_equal(
            share.streams["speech"].x, whole.streams["speech"].x[half, :n]
        )
