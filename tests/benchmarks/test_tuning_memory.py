"""What learns is what a step is given to change, and what fits is read off a line."""

import functools
import math

import jax
import pytest

from benchmarks import accelerator, encoder_sizes, tuning_memory
from benchmarks.encoder_sizes import REHEARSAL
from benchmarks.tuning_memory import FROZEN, FULL, HALF, HELD, HOW, LORA, Case, Found
from jser.training import lora

HEAD = REHEARSAL.width * tuning_memory.CLASSES + tuning_memory.CLASSES


def lowered(kind, how, batch=2):
    mesh = tuning_memory.mesh("cpu")
    options = {"how": how, "batch": batch, "seconds": 1}
    return tuning_memory.lowered(mesh, kind, REHEARSAL, **options)


def shapes(kind):
    given = tuning_memory.inputs(kind, 2, 1)
    module = encoder_sizes.module(kind, REHEARSAL, HALF)
    module = module.clone(short=True) if kind == "whisper" else module
    return jax.eval_shape(module.init, jax.random.key(0), *given)["params"]


def sizes(tree):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("how", HOW)
def test_a_step_is_given_what_learns_with_two_moments_and_the_rest_in_half(kind, how):
    arguments, _ = lowered(kind, how).args_info
    state, held, *_ = arguments
    assert all(x.donated for x in jax.tree.leaves(state))
    assert not any(x.donated for x in jax.tree.leaves(held))
    params = shapes(kind)
    learns = {
        FROZEN: {},
        LORA: jax.eval_shape(
            lambda: lora.init(lora.Recipe(), params, jax.random.key(0))
        ),
        FULL: {k: x for k, x in params.items() if k != HELD[kind]},
    }[how]
    count = 1  # Of steps, AdamW's.
    assert sizes(state) == 3 * (HEAD + sizes(learns)) + count
    assert {x.dtype.name for x in jax.tree.leaves(state)} == {"float32", "int32"}
    assert set(held) == ({HELD[kind]} if how == FULL else set(params))
    narrow = {k[-1].key for k, x in jax.tree.leaves_with_path(held) if x.dtype == HALF}
    assert "kernel" in narrow or set(held) == {"position"}
    assert narrow <= {"kernel", "embedding"}


@pytest.mark.slow
def test_more_utterances_take_more_and_learning_takes_more():
    """By CPUs' compiler, which is everywhere."""
    found = [
        tuning_memory.measure(lowered("whisper", how, batch), "cpu")
        for how, batch in ((FROZEN, 2), (FROZEN, 8), (FULL, 8))
    ]
    few, many, full = found
    assert few.total < many.total < full.total
    for x in found:
        # What a step returns lies where it was given, but for the loss.
        assert x.total == pytest.approx(x.arguments + x.temporary, abs=1e-6)


def test_a_card_holds_what_the_lines_say():
    totals = {32: 7.5, 8: 2.7, 16: 3.9}
    assert tuning_memory.fit(totals) == pytest.approx((1.1, 0.2))
    largest = functools.partial(tuning_memory.largest, totals)
    assert largest(2 / 0.9) == 3  # 8 - 0.7 / 0.15
    assert largest(3.5 / 0.9) == 13  # 8 + 0.8 / 0.15
    assert largest(6 / 0.9) == 25  # 16 + 2.1 / 0.225
    assert largest(16) == 62  # 32 + 6.9 / 0.225
    assert largest(1.4 / 0.9) == 0


def test_whisper_has_lengths_of_its_own():
    made = tuning_memory.cases(["hubert_xlarge", "whisper_large_v3"], [5], [LORA], [8])
    assert [(c.encoder, c.seconds) for c in made] == [
        ("hubert_xlarge", 5),
        ("whisper_large_v3", 10),
        ("whisper_large_v3", 30),
    ]


def test_steps_of_runs_before_and_notes_stay_in_the_page(tmp_path, monkeypatch):
    page, said = tmp_path / "page.md", "On h100: jax 1.0."

    def measured(part, command, on_row):
        encoder, seconds, how, batch = command[-4:]
        if how == FULL:
            return ["Cut at its limit of 300 s."]
        case = Case(encoder, int(seconds), how, int(batch))
        found = Found("h100", 0.55, 0.1 * case.batch, 0.55 + 0.1 * case.batch, 7)
        return [tuning_memory.row(case, found), said]

    monkeypatch.setattr(accelerator, "measure", measured)
    asked = [Case("wavlm_large", 5, how, 32) for how in (LORA, FROZEN, FULL)]
    tuning_memory.report(asked, "h100", page)
    text = page.read_text()
    assert text.startswith(tuning_memory.HEAD)
    assert "\nwavlm_large 5 full 32: Cut at its limit of 300 s.\n" in text
    assert text.count(said) == 1
    assert not tuning_memory.fitting(tuning_memory.read(text.splitlines()))[2:]

    page.write_text(text + "\n## Notes\n\nOf interest.\n")
    tuning_memory.report([Case("wavlm_large", 5, LORA, 8)], "h100", page)
    text = page.read_text()
    assert text.endswith("\n## Notes\n\nOf interest.\n")
    assert text.count(said) == 1
    found = tuning_memory.read(text.splitlines())
    assert [(c.how, c.batch) for c in found] == [(FROZEN, 32), (LORA, 8), (LORA, 32)]
    (fits,) = tuning_memory.fitting(found)[2:]
    assert (
        fits
        == "| wavlm_large | 5 | lora | 0.55 | 0.100 | *138* | *210* | *354* | *714* |"
    )
