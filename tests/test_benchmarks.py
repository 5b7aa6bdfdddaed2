"""The race is between equals, and its figures say what they claim."""

import time

import numpy as np
import pytest

from jser import convert
from jser.models import fusion
from jser.shapes import Stream

torch = pytest.importorskip("torch")

from benchmarks import epoch, peer, sides, train_step  # noqa: E402


@pytest.mark.parametrize("widths", [(6, 5), pytest.param((6, 5, 3), id="trimodal")])
def test_the_peer_computes_what_ours_does(widths, rng):
    """Unmasked and without dropout; with random lengths padded by zeros, as theirs."""
    network = peer.Network(widths, hidden=8, neutral=True).eval()
    names = peer.STREAMS[: len(widths)]
    frames = [
        rng.standard_normal((3, T, D)).astype(np.float32)
        * (np.arange(T) < rng.integers(1, T + 1, 3)[:, None])[..., None]
        for T, D in zip((7, 4, 9), widths, strict=False)
    ]
    with torch.no_grad():
        want = network([torch.from_numpy(x) for x in frames])
    state = {name: x.numpy() for name, x in network.state_dict().items()}
    ours = fusion.FusionClassifier(
        streams=names,
        classes=8,
        hidden=8,
        heads=(("prosody", 2),) if len(names) == 3 else (),
        neutral_head=True,
        mask_padding=False,
    )
    streams = {
        s: Stream(x=x, mask=np.ones(x.shape[:2], bool))
        for s, x in zip(names, frames, strict=True)
    }
    params = convert.to_params(state, names)
    got = ours.apply({"params": params}, streams, train=False)
    for head, theirs in zip(("emotion", "neutral"), want, strict=True):
        np.testing.assert_allclose(got[head], theirs.numpy(), atol=1e-5)


def test_ratios_are_of_the_first_side():
    """A side that sleeps a third as long is three times as fast."""
    wait = lambda seconds: lambda: time.sleep(seconds)
    found = train_step.race({"slow": wait(0.06), "fast": wait(0.02)}, rounds=5)
    assert found.ratio("slow") == 1
    assert found.ratio("fast") == pytest.approx(3, rel=0.5)
    assert found.seconds("fast") == pytest.approx(0.02, rel=0.5)


@pytest.mark.slow
def test_a_small_race_in_both_precisions():
    rows = train_step.accelerator((2,), (5, 3), hidden=8, rounds=1)
    want = ["torch eager float32", "torch eager bfloat16"]
    want += ["jser float32", "jser bfloat16"]
    assert [r.split(" | ")[1] for r in rows if "compile" not in r] == want
    assert rows[0].endswith("| 1.00 |")


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own():
    kept = np.ones(50_000_000)  # 400 MB that only this process holds.
    shape = sides.Shape(2, (5, 3), hidden=8)
    assert 100 < train_step.peak_mb("torch", shape) < 2000
    assert kept[0] == 1


@pytest.mark.slow
def test_a_small_epoch_from_the_store(tmp_path):
    store = epoch.make_store(tmp_path, 16)
    rows = epoch.race(store, hidden=8, members=(1, 2), repeats=1)
    sides_raced = [row.split(" | ")[2] for row in rows]
    assert sides_raced == ["torch", "jser, 1 together", "jser, 2 together"]
    assert "16 | torch" in epoch.page(rows, store)
