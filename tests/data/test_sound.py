import subprocess
import sys
import textwrap

import numpy as np
import pytest
from scipy import signal

from jser.config import Augment
from jser.corpora import voice
from jser.data import sound

RATE_HZ = 16_000
EFFECTS = {
    "other_voice": "_with_voice",
    "room": "_in_room",
    "background": "_in_noise",
    "band": "_in_band",
    "codec": "_coded",
}
ALL = Augment(**dict.fromkeys(EFFECTS, 1.0))


def spoken(text: str, seed: int) -> np.ndarray:
    manner = voice.Manner(
        f0_hz=180,
        f0_range_st=4,
        final_st=0,
        rate=1,
        level_db=-22,
        tilt_hz=1500,
        breath=0.05,
        jitter=0.01,
        formant_scale=1,
    )
    return voice.speak(text, manner, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return spoken("the night was long and the wind was cold", 0)


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return spoken("somebody else", 1)


def drawn(samples, other, seed=0, **shares) -> np.ndarray:
    c = Augment(**shares) if shares else ALL
    return sound.disturbed(samples, lambda: other, c, np.random.default_rng(seed))


def db(ratio: float) -> float:
    return 10 * np.log10(ratio)


def power(x: np.ndarray) -> float:
    return np.mean(np.square(x, dtype=np.float64))


def snr_db(x: np.ndarray, mixed: np.ndarray) -> float:
    return db(power(x) / power(mixed.astype(np.float64) - x))


def lag(x: np.ndarray, y: np.ndarray) -> int:
    """Samples by which y comes later than x."""
    return int(signal.correlate(y, x, method="fft").argmax()) - len(x) + 1


def band_power(x: np.ndarray, low_hz: float, high_hz: float) -> float:
    f_hz, density = signal.welch(x, RATE_HZ, nperseg=2048)
    return density[(f_hz >= low_hz) & (f_hz <= high_hz)].sum()


def test_shares_of_0_change_nothing(speech, other):
    same = drawn(speech, other, codec=0.0)
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, speech)


def test_a_result_depends_on_the_arguments_alone(speech, other):
    before = speech.copy(), other.copy()
    for seed in range(4):
        first, again = drawn(speech, other, seed), drawn(speech, other, seed)
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, drawn(speech, other, seed + 1))
    np.testing.assert_array_equal(speech, before[0])
    np.testing.assert_array_equal(other, before[1])


def test_numbers_drawn_before_matter_though_the_seed_is_the_same(speech, other):
    rng = np.random.default_rng(0)
    rng.random()
    moved = sound.disturbed(speech, lambda: other, ALL, rng)
    assert not np.array_equal(moved, drawn(speech, other, 0))


def test_an_effect_draws_alike_whatever_the_others_do(monkeypatch):
    calls = []

    def recorder(name: str, draws: int):
        def effect(x, *args):
            calls.append((name, *args[-1].random(draws)))
            return x

        return effect

    for draws, (name, function) in enumerate(EFFECTS.items(), 1):
        monkeypatch.setattr(sound, function, recorder(name, draws))
    x = np.zeros(400, np.float32)
    alone = []
    for name in EFFECTS:
        for seed in range(40):
            drawn(x, x, seed, **{name: 0.5})
            alone += [(seed, call) for call in calls]
            calls.clear()
    assert 60 < len(alone) < 140  # Of 200, in a share of .5.
    together = []
    for seed in range(40):
        drawn(x, x, seed, **dict.fromkeys(EFFECTS, 0.5))
        order = [list(EFFECTS).index(name) for name, *_ in calls]
        assert order == sorted(order)
        together += [(seed, call) for call in calls]
        calls.clear()
    assert sorted(together) == sorted(alone)


@pytest.mark.parametrize("wanted_db", [10.0, 17.5])
def test_another_voice_is_beneath_at_its_ratio(speech, other, monkeypatch, wanted_db):
    monkeypatch.setattr(sound, "_VOICE_SNR_DB", (wanted_db, wanted_db))
    for beneath in (other, np.tile(other, 5)):
        mixed = drawn(speech, beneath, other_voice=1.0)
        assert snr_db(speech, mixed) == pytest.approx(wanted_db, abs=0.1)
    assert len(speech) > len(other)  # So that it was repeated, and then cut.


@pytest.mark.parametrize("length", [1000, 5000])
def test_the_other_voice_starts_anywhere_and_wraps(length):
    counted, starts = np.arange(1.0, length + 1), set()
    for seed in range(20):
        x = np.ones(3000)
        noise = sound._with_voice(x, counted, np.random.default_rng(seed)) - x
        # Noise is a count from somewhere, times a gain; its steps tell the gain.
        numbers = np.round(noise / np.median(np.diff(noise))).astype(int)
        start = numbers[0]
        expected = (start - 1 + np.arange(3000)) % length + 1
        np.testing.assert_array_equal(numbers, expected)
        if length > 3000:
            assert numbers[-1] == start + 2999  # Of a longer one, a part in one piece.
        starts.add(start)
    assert len(starts) > 15


def test_a_silent_other_adds_nothing(speech):
    silent = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(drawn(speech, silent, other_voice=1.0), speech)


def test_noise_is_beneath_at_its_ratio(speech, other, monkeypatch):
    monkeypatch.setattr(sound, "_NOISE_SNR_DB", (12.0, 12.0))
    for seed in range(5):
        mixed = drawn(speech, other, seed, background=1.0)
        assert snr_db(speech, mixed) == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize("slope", [0.0, -3.0, -6.0])
def test_noise_falls_by_its_slope_per_octave(rng, slope):
    noise = sound._noise(20 * RATE_HZ, slope, rng)
    f_hz, density = signal.welch(noise, RATE_HZ, nperseg=2048)
    inside = (f_hz > 100) & (f_hz < 7500)
    fitted, _ = np.polyfit(np.log2(f_hz[inside]), db(density[inside]), 1)
    assert fitted == pytest.approx(slope, abs=0.15)
    assert db(band_power(noise, 16, 24) / band_power(noise, 32, 40)) < 1


@pytest.mark.parametrize("rt60_s", [0.1, 0.3, 0.6])
def test_a_room_decays_within_its_reverberation_time(rng, rt60_s):
    tail = sound._impulse_response(rt60_s, 5.0, rng)[1:]
    left_db = db(np.cumsum(np.square(tail)[::-1])[::-1] / np.sum(np.square(tail)))
    fitted = (left_db < -5) & (left_db > -35)  # Schroeder (1965), T30.
    t_s = np.flatnonzero(fitted) / RATE_HZ
    db_per_s, _ = np.polyfit(t_s, left_db[fitted], 1)
    assert -60 / db_per_s == pytest.approx(rt60_s, rel=0.2)


@pytest.mark.parametrize("ratio_db", [0.0, 10.0])
def test_a_rooms_direct_sound_is_louder_than_its_tail_by_the_ratio(rng, ratio_db):
    direct, *tail = sound._impulse_response(0.3, ratio_db, rng)
    assert db(direct**2 / np.sum(np.square(tail))) == pytest.approx(ratio_db, abs=0.01)


def test_a_room_keeps_level_and_time(rng):
    white = rng.standard_normal(2 * RATE_HZ)
    for seed in range(5):
        wet = drawn(white, white, seed, room=1.0)
        assert db(power(wet) / power(white)) == pytest.approx(0, abs=1e-3)
        assert lag(white, wet) == 0
        # At 0 to 10 dB, 1/2 to 10/11 of the power is direct.
        assert 0.65 < np.corrcoef(white, wet)[0, 1] < 0.98


@pytest.mark.parametrize(
    ("telephone_share", "passed_hz", "below_hz", "above_hz"),
    [(1.0, (400, 3000), 200, 4500), (0.0, (200, 5000), 60, 7000)],
)
def test_a_band_takes_what_is_outside(
    rng, monkeypatch, telephone_share, passed_hz, below_hz, above_hz
):
    monkeypatch.setattr(sound, "_TELEPHONE_SHARE", telephone_share)
    monkeypatch.setattr(sound, "_LOW_EDGE_HZ", (120.0, 120.0))
    monkeypatch.setattr(sound, "_HIGH_EDGE_HZ", (6000.0, 6000.0))
    white = rng.standard_normal(4 * RATE_HZ)
    cut = drawn(white, white, band=1.0)

    def change_db(low_hz: float, high_hz: float) -> float:
        return db(band_power(cut, low_hz, high_hz) / band_power(white, low_hz, high_hz))

    assert change_db(*passed_hz) == pytest.approx(0, abs=0.5)
    assert change_db(0, below_hz) < -20
    assert change_db(above_hz, 8000) < -20
    assert lag(white, cut) == 0


def test_bands_differ(rng):
    white = rng.standard_normal(RATE_HZ)
    heard = {
        round(db(band_power(drawn(white, white, seed, band=1.0), 5000, 7000)))
        for seed in range(12)
    }
    assert len(heard) > 4


@pytest.mark.parametrize("codec", sound._CODECS, ids=lambda c: c.subtype)
class TestCodec:
    def test_it_changes_little_and_no_times(self, codec, speech):
        # No multiple of any codec's frame, and an odd number at 8 kHz; the shortest.
        for x in (speech, speech[: 2 * 7919], speech[4000:4400]):
            coded = sound._through(codec, x)
            assert len(coded) == len(x)
            assert not np.allclose(coded, x, atol=1e-4)
            assert np.corrcoef(x, coded)[0, 1] > 0.8
            assert len(x) == 400 or lag(x, coded) == 0

    def test_it_gives_the_same_bits(self, codec, speech):
        first, again = (sound._through(codec, speech) for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_loud_sounds_are_not_clipped(self, codec, speech):
        loud = 5 * speech / np.abs(speech).max()
        coded = sound._through(codec, loud)
        assert np.corrcoef(loud, coded)[0, 1] > 0.8
        peak = np.abs(loud).argmax()
        near = coded[peak - 16 : peak + 16]
        assert np.abs(near).max() > 2.5
        assert db(power(coded) / power(loud)) == pytest.approx(0, abs=1)


def test_quiet_sounds_are_not_raised_on_the_way(speech):
    (g711,) = (c for c in sound._CODECS if c.subtype == "ULAW")
    narrow = signal.sosfilt(
        signal.butter(4, 3000, fs=RATE_HZ, output="sos"), speech / np.abs(speech).max()
    )
    ratio_db_of = {
        peak: snr_db(peak * narrow, sound._through(g711, peak * narrow))
        for peak in (1e-3, 0.1, 1.0)
    }
    # Its logarithmic steps keep the ratio but near silence, where they are even.
    assert ratio_db_of[1e-3] < 15 < 25 < min(ratio_db_of[0.1], ratio_db_of[1.0])


def test_all_codecs_are_drawn(speech, other, monkeypatch):
    used = []
    monkeypatch.setattr(sound, "_through", lambda codec, x: used.append(codec) or x)
    for seed in range(60):
        drawn(speech, other, seed, codec=1.0)
    assert set(used) == set(sound._CODECS)


def test_a_long_sound_does_not_overflow_the_stack():
    """Vorbis crashes the process, in a thread of macOS after some seconds of sound."""
    script = """
        import threading
        import numpy as np
        from jser.data import sound

        (vorbis,) = [c for c in sound._CODECS if c.subtype == "VORBIS"]
        noise = np.random.default_rng(0).standard_normal(20 * 16_000) * 0.1
        threading.stack_size(512 * 1024)
        thread = threading.Thread(
            target=lambda: print(len(sound._through(vorbis, noise)))
        )
        thread.start()
        thread.join()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "320000\n"), ended.stderr


@pytest.mark.parametrize("seed", range(6))
def test_silence_stays_nearly_silent(other, seed):
    silence = np.zeros(RATE_HZ, np.float32)
    assert np.abs(drawn(silence, other, seed)).max() < 1e-3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
@pytest.mark.parametrize("length", [400, 401, 16_001])
def test_all_effects_keep_length_and_stay_finite(speech, other, length, scale):
    x = (speech[3000 : 3000 + length] * scale).astype(np.float32)
    for seed in range(8):
        changed = drawn(x, other[:400], seed)
        assert changed.shape == (length,)
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert not np.array_equal(changed, x)
