"""Steps of the recurrence stay in few pieces, and what compilers say is read right."""

import jax
from jax.sharding import Mesh
import numpy as np
import pytest

from benchmarks import accelerator, ahead, ahead_parts
from benchmarks.ahead_text import Text

# A loop of 75 rounds, in one more of 4 whose end only its condition knows.
TEXT = """\
HloModule jit_f

%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %tanh = f32[8]{0} tanh(%p)
}

%inner (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]{0:T(8,128)S(1)}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%t), index=1
  %a = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused, c={"estimated_cycles":"5"}
  %b = f32[8]{0} fusion(%a), kind=kLoop, calls=%fused, c={"estimated_cycles":"7"}
  ROOT %u = (s32[], f32[8]{0}) tuple(%i, %b)
}

%ends (t: (s32[], f32[8])) -> pred[] {
  %t = (s32[], f32[8]{0}) parameter(0)
  %n = s32[]{:T(128)} constant(4)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%outer (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]{0}) parameter(0)
  %w = (s32[], f32[8]{0}) while(%t), condition=%ends, body=%inner, \
metadata={op_name="jit(f)/transpose(jvp())/while"}, \
backend_config={"known_trip_count":{"n":"75"}}
  %s = (f32[8], f32[8]) all-reduce-start(%x), to_apply=%fused
  %d = f32[8]{0} all-reduce-done(%s)
  ROOT %u = (s32[], f32[8]{0}) tuple(%i, %d)
}

%graph (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %c = f32[8]{0} copy(%p)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %g = f32[8]{0} call(%p), to_apply=%graph
  %w = (s32[], f32[8]{0}) while(%t), condition=%ends, body=%outer, \
metadata={op_name="jit(f)/jvp()/while"}
  ROOT %r = f32[8]{0} get-tuple-element(%w), index=1
}
"""


def test_every_round_of_a_loop_counts():
    text = Text(TEXT)
    (loop,) = text.loops()
    assert loop == (4, "outer", False)
    assert text.loops("outer") == [(75, "inner", True)]
    assert text.kernels() == 1 + 4 * (1 + 75 * 2)
    assert text.cycles() == 4 * 75 * (5 + 7)
    assert text.collectives() == {"all-reduce": 1}
    alone = Text(text.module("inner"))
    assert alone.kernels() == 2
    assert "metadata" not in alone.text


def test_tables_that_are_not_asked_for_stay_in_the_page(tmp_path, monkeypatch):
    page, given = tmp_path / "page.md", ["| a | 1 |", "On h100: jax 1.0."]
    monkeypatch.setattr(accelerator, "measure", lambda part, command, told: given)
    first, last = ahead.TARGETS["h100"][0], ahead.TARGETS["v6e"][-1]
    ahead.report({"v6e": [last]}, page)
    given = ["Cut at its limit of 300 s."]
    ahead.report({"h100": [first]}, page)
    text = page.read_text()
    assert text.startswith(ahead.HEAD)
    assert list(ahead.sections(text)) == ["The recurrence, h100", "Encoders, v6e"]
    assert text.count("| a | 1 |\n") == text.count("On h100: jax 1.0.\n") == 1
    for case in first.cases:
        assert f"\n{case.what}: Cut at its limit of 300 s.\n" in text


def pieces_of_a_time_step(mesh: Mesh, precision: str) -> list[float]:
    """Kernels of a step in time, forward and backward."""
    lowered = ahead_parts.loop(mesh, loop=ahead.STEPS, precision=precision)
    text = Text(lowered.compile().as_text())
    loops = sorted(text.loops(), key=lambda x: x.backward)
    assert [x.backward for x in loops] == [False, True]
    return [x.rounds * text.kernels(x.body) / ahead_parts.FRAMES[0] for x in loops]


@pytest.mark.slow
def test_a_time_step_takes_few_pieces(monkeypatch):
    """CPUs' compiler, which is everywhere, makes 3 and 3.75 of it: as a GPU's does."""
    monkeypatch.setattr(ahead_parts, "BATCH", 8)
    monkeypatch.setattr(ahead_parts, "HIDDEN", 16)  # At full size it takes minutes.
    devices = np.array(jax.devices("cpu")[:1]).reshape(1, 1)
    mesh = Mesh(devices, ("members", "rows"))
    forward, backward = pieces_of_a_time_step(mesh, "float32")
    assert 1 < forward < 5
    assert 1 < backward < 6


@pytest.mark.slow
def test_a_time_step_takes_few_kernels_of_a_gpu():
    for name in ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc"):
        reason = "wants what benchmarks/requirements-ahead.txt names"
        pytest.importorskip(name, reason=reason)
    forward, backward = pieces_of_a_time_step(ahead_parts.mesh("h100"), "bf16")
    assert 1 < forward < 3.5
    assert 1 < backward < 4.5
