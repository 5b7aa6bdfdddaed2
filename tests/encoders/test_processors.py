"""Windows, padded lengths and batches, without a model."""

import numpy as np
import pytest

from jser.encoders import batching, facodec, processors

CONV = ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2)
WAVES = processors.WaveformProcessor(conv=CONV, normalise=lambda x: x)
FORMULAS = {
    "waves": (WAVES, lambda n: (n - 400) // 320 + 1),
    "whisper": (processors.MelProcessor(80), lambda n: -(-n // 320)),
    "facodec": (processors.CodecProcessor(), lambda n: n // 200 + 1),
}
LENGTHS = (400, 401, 16_000, 479_999, 480_001, 1_300_000)


@pytest.mark.parametrize("kind", FORMULAS)
def test_frame_counts_follow_the_formula(kind):
    processor, formula = FORMULAS[kind]
    for n in LENGTHS:
        windows = processor.cut(np.zeros(n, np.float32))
        kept = sum(len(range(w.frames)[w.keep]) for w in windows)
        assert kept == formula(n), n
        assert max(len(w.data) for w in windows) < 480_320
        assert (len(windows) > 1) == (formula(n) > formula(480_000))
    with pytest.raises(ValueError, match="399 samples are too few; the least is 400"):
        processor.cut(np.zeros(399, np.float32))


def test_the_usual_convolutions():
    assert (WAVES.hop, WAVES.field) == (320, 400)
    assert [WAVES.frames(n) for n in (399, 400, 719, 720)] == [0, 1, 1, 2]


def test_windows_tile_the_utterance():
    for frames in range(1, 60):
        spans = processors.spans(frames, 9, 2)
        covered = [t for a, b, keep in spans for t in range(a, b)[keep]]
        assert covered == list(range(frames))
        for a, b, keep in spans:
            assert b - a <= 9
            assert a == 0 or keep.start == 2
            assert b == frames or b - a - keep.stop == 2


def test_buckets_are_few_and_near():
    buckets = sorted({processors.bucket(n) for n in range(1, 1501)})
    assert buckets[:10] == [16, 18, 20, 22, 24, 26, 28, 30, 32, 36]
    assert len(buckets) < 60
    for n in range(16, 1501):
        assert n <= processors.bucket(n) <= 1.125 * n


def positions(samples, lengths):
    """In place of a model: the first sample of every frame."""
    return samples[:, : samples.shape[1] - 399 : 320, None]


def test_frames_of_windows_are_where_the_whole_has_them():
    encode = batching.BatchedEncoder(WAVES, positions, budget=2000)
    lengths = (1_300_000, 400, 16_000, 480_080, 2_000_000, 720)
    done = []
    made = encode([np.arange(n, dtype=np.float32) for n in lengths], done.append)
    for n, frames in zip(lengths, made, strict=True):
        np.testing.assert_array_equal(frames[:, 0], np.arange(0, n - 399, 320))
    assert sum(done) == len(lengths)


def test_facodec_windows_are_where_the_whole_has_them():
    run = lambda samples, lengths: samples[:, ::200, None]
    for whole in (False, True):
        encode = batching.BatchedEncoder(
            processors.CodecProcessor(whole=whole), run, budget=1
        )
        for n in (480_001, 1_300_000, 399_999, 400_000):
            (frames,) = encode([1 + np.arange(n, dtype=np.float32)])
            want = 1 + np.arange(0, n, 200)
            assert len(frames) == facodec.frames(n)
            np.testing.assert_array_equal(frames[: len(want), 0], want)


def test_batches_keep_to_the_budget_and_shapes_are_few(rng):
    seen = []

    def run(samples, lengths):
        seen.append(samples.shape)
        return positions(samples, lengths)

    encode = batching.BatchedEncoder(WAVES, run, budget=512)
    lengths = rng.integers(400, 160_000, 64)
    encode([np.zeros(n, np.float32) for n in lengths])
    assert encode.compiled == len(set(seen)) < len(seen) < 64
    assert [n for _, n in seen] == sorted((n for _, n in seen), reverse=True)
    for rows, samples in seen:
        assert rows == 1 or rows * WAVES.frames(samples) <= 512
    assert encode([]) == []


def test_short_context_is_the_windows_own_whole_seconds(rng):
    processor, seen = processors.MelProcessor(80, short=True), []

    def run(mel):
        seen.append(mel.shape[:2])
        # In place of a model: how long a batch is, then its first band.
        return np.stack([np.full(mel.shape[:2], mel.shape[1]), mel[:, :, 0]], -1)[
            :, ::2
        ]

    encode = batching.BatchedEncoder(processor, run, budget=512)
    seconds = (0.5, 1, 1.001, 2, 2.5, 29.5, 30, 41, *rng.uniform(1, 4, 20))
    sounds = [rng.standard_normal(int(16_000 * s)).astype(np.float32) for s in seconds]
    made = encode(sounds)
    alone = [encode([x])[0] for x in sounds]
    for x, frames, its in zip(sounds, made, alone, strict=True):
        assert len(frames) == -(-len(x) // 320)
        np.testing.assert_array_equal(frames, its)
    assert [x[0, 0] for x in made[:7]] == [100, 100, 200, 200, 300, 3000, 3000]
    assert set(made[7][:, 0]) == {2300}  # 41 s are two windows of 22.5 s.
    assert all(rows == 1 or rows * n // 2 <= 512 for rows, n in seen)
    assert max(rows for rows, _ in seen) > 1


@pytest.mark.parametrize("compiles", [True, False])
def test_what_is_left_fills_few_rows(compiles):
    seen = []

    def run(samples, lengths):
        seen.append(len(samples))
        return positions(samples, lengths)

    encode = batching.BatchedEncoder(WAVES, run, budget=16 * 100, compiles=compiles)
    for n in (3, 13, 100, 101, 191):
        seen.clear()
        done = []
        made = encode([np.full(400, k, np.float32) for k in range(n)], done.append)
        assert [x[0, 0] for x in made] == list(range(n))
        assert sum(done) == n
        assert n <= sum(seen) <= (1.25 * n if compiles else n)
        assert (
            all(rows in (100, 1, 2, 4, 8, 16, 32, 64) for rows in seen) or not compiles
        )
