"""Devices share the batches of an encoder; its frames are as of one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import tiny_checkpoints
from tests.helpers.paths import ROOT

NAMES = ("whisper", "hubert", "roberta")
# Sounds of several lengths, of which no number is a multiple of the devices.
ENCODES = """
import json, sys
import jax, numpy as np
from jser import encoders
folders, out = json.loads(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
sounds = [rng.standard_normal(n).astype(np.float32) for n in (8000, 9000, 24000) * 3]
texts = ["a word", "two more words", "nothing"] * 3
made = {"devices": np.array(jax.device_count())}
for name, folder in folders.items():
    frames = encoders.load(folder)(texts if name == "roberta" else sounds)
    made |= {f"{name} {i}": x for i, x in enumerate(frames)}
np.savez(out, **made)
"""

# How often a convolution in groups, split over devices by its rows, gathers them.
GATHERS = """
from flax import linen as nn
import jax, numpy as np
from jser import devices
convolve = nn.Conv(8, (4,), feature_group_count=2)
x = np.ones((8, 6, 8), np.float32)
layout = devices.Layout.of(8)
of_all = lambda variables, x: convolve.apply(variables, x)
given = layout.place(convolve.init(jax.random.key(0), x)), layout.split_rows(x)
for f in (of_all, layout.apart(of_all, axis=-3)):
    print(jax.jit(f).lower(*given).compile().as_text().count(" all-gather("))
"""


def on(count: int, *arguments: str) -> str:
    """What a program prints that sees so many devices."""
    flag = f"--xla_force_host_platform_device_count={count}"
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        env={**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def test_rows_on_devices_of_their_own_gather_nothing():
    left_to_the_compiler, apart = map(int, on(8, GATHERS).split())
    assert left_to_the_compiler > apart == 0


@pytest.mark.slow
def test_eight_devices_encode_as_one(tmp_path):
    for name in NAMES:
        tiny_checkpoints.make(name, tmp_path / name)
    folders = {name: str(tmp_path / name) for name in NAMES}
    made = []
    for count in (1, 8):
        out = tmp_path / f"{count}.npz"
        on(count, ENCODES, json.dumps(folders), str(out))
        made.append(np.load(out))
        assert made[-1]["devices"] == count
    assert made[0].files == made[1].files
    for name in made[0].files[1:]:
        np.testing.assert_allclose(made[1][name], made[0][name], rtol=0, atol=1e-5)
