"""Where there may be speech, by energy."""

import numpy as np
import pytest

from jser.recognizer import activity
from tests.helpers import fake_model

RATE_HZ = 16_000


def noise(seconds, db, seed=0):
    rng = np.random.default_rng(seed)
    samples = 10 ** (db / 20) * rng.standard_normal(round(RATE_HZ * seconds))
    return samples.astype(np.float32)


def spoken(*parts: tuple[float, float]) -> list[tuple[float, float]]:
    """Starts and ends in seconds, of noises of so many seconds and dB."""
    whole = np.concatenate([noise(*part, seed=i) for i, part in enumerate(parts)])
    energy, samples = activity.energy_db([whole])
    assert samples == len(whole)
    return [(i / 50, k / 50) for i, k in activity.runs(activity.speech(energy))]


def test_energy_is_that_of_20_ms_in_db_of_full_scale():
    energy, samples = activity.energy_db([np.ones(320), np.full(500, 0.1)])
    assert samples == 820
    np.testing.assert_allclose(energy, [0, -20], atol=1e-4)
    energy, samples = activity.energy_db([np.zeros(319, np.float32)])
    assert (len(energy), samples) == (0, 319)


@pytest.mark.parametrize("size", [1, 319, 321, 5000])
def test_energy_does_not_depend_on_blocks(size):
    whole = noise(1.0, -20)
    energy, _ = activity.energy_db(fake_model.blocks(whole, size))
    np.testing.assert_array_equal(energy, activity.energy_db([whole])[0])


@pytest.mark.parametrize("level", [0.0, -30.0])
def test_30_db_below_the_loudest_is_silence(level):
    db = np.array([-10, -36, -10, -45, -10]) + level
    assert spoken(*((2.0, x) for x in db)) == [(0.0, 6.0), (8.0, 10.0)]


def test_below_70_db_of_full_scale_all_is_silence():
    assert spoken((5.0, -74.0)) == []
    assert spoken((1.0, -74.0), (1.0, -60.0), (1.0, -74.0)) == [(1.0, 2.0)]


def test_what_is_alike_from_end_to_end_is_no_silence():
    assert spoken((60.0, -40.0)) == [(0.0, 60.0)]


def test_the_level_runs_with_the_recording():
    """Somebody far from the microphone is heard some minutes after one who is near."""
    near, far = (-10.0, -44.0)
    assert spoken((20.0, near), (20.0, far)) == [(0.0, 20.0)]
    away = [(20.0, near), (240.0, -80.0), (20.0, far)]
    assert spoken(*away) == [(0.0, 20.0), (260.0, 280.0)]
    assert spoken(*away[::-1]) == [(0.0, 20.0), (260.0, 280.0)]


def test_a_pause_of_minutes_is_measured_by_the_speech_around_it():
    parts = [(20.0, -20.0), (400.0, -60.0), (20.0, -20.0)]
    assert spoken(*parts) == [(0.0, 20.0), (420.0, 440.0)]
    parts = [(20.0, -20.0), (200.0, -60.0)]
    assert spoken(*parts) == [(0.0, 20.0)]
    assert spoken(*parts[::-1]) == [(200.0, 220.0)]


def test_a_click_is_not_the_level():
    whole = noise(20.0, -45)
    whole[16_000:16_100] = 1.0
    assert activity.speech(activity.energy_db([whole])[0]).all()


@pytest.mark.parametrize("size", [400, 5_000, 16_000])
def test_running_needs_only_what_came_before(size):
    running = activity.Running()
    parts = [(5.0, -70.0), (20.0, -20.0), (100.0, -65.0), (5.0, -20.0)]
    whole = np.concatenate([noise(*part) for part in parts])
    heard = [running.hear(b) for b in fake_model.blocks(whole, size)]
    mask = np.concatenate(heard)
    assert len(mask) == len(whole) // activity.FRAME
    assert mask[300:1249].all()
    assert not mask[1250 + size // 320 : 6250].any()
    assert mask[6300:].all()


@pytest.mark.parametrize(
    ("mask", "want"),
    [("", []), ("000", []), ("111", [(0, 3)]), ("0110100", [(1, 3), (4, 5)])],
)
def test_runs(mask, want):
    assert list(activity.runs(np.array([x == "1" for x in mask], bool))) == want
