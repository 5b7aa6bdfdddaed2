"""Hours of sound, in the memory of some seconds."""

from collections.abc import Iterator
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from jser.recognizer import timeline
from tests.helpers import fake_model
from tests.helpers.fake_model import LABELS

TALK = fake_model.sound(("sad", 3.0), ("", 1.0), ("angry", 5.0), ("", 1.0))  # 10 s.
HOURS = 2
BYTES = HOURS * 3600 * 16_000 * 4  # 461 MB.


class Recording:
    """Two hours that are nowhere."""

    def __iter__(self) -> Iterator[np.ndarray]:
        for _ in range(HOURS * 360):
            yield TALK.copy()


def first_sample(samples):
    """Probabilities, quick to have."""
    return np.array([[0.5 + x[0] / 10, 0.3, 0.2] for x in samples])


WAYS = {
    "windows": timeline.of_windows,
    "pauses": timeline.of_pauses,
    "one segment": lambda *x: timeline.of_segments(*x, [(0.0, HOURS * 3600.0, "a")]),
}


@pytest.mark.parametrize("way", WAYS)
def test_two_hours_take_the_memory_of_a_batch(way):
    tracemalloc.start()
    try:
        found = WAYS[way](Recording(), first_sample, LABELS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[-1].end_s > HOURS * 3600 - 2
    assert peak < BYTES / 8


CODE = """
import pathlib, sys
import numpy as np
from jser import audio
from jser.recognizer import timeline

def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

def model(samples):
    return np.tile([0.5, 0.3, 0.2], (len(samples), 1))

before = peak()
with open(sys.argv[1], "rb") as f, audio.Stream(f) as sound:
    found = timeline.of_windows(sound, model, "abc")
    assert sound.samples == 7200 * 16000 and found[-1].end_s > 7190, found[-1]
print(1024 * (peak() - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_two_hours_of_a_pipe_take_little_memory(tmp_path):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as f:
        for _ in range(HOURS * 360):
            f.write(TALK[::2])
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < BYTES / 4
