"""The race is between equals, and its figures say what they claim."""

import dataclasses
import sys
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest

from jser.config import Ensemble
from jser.corpora import tables
from jser.ensemble.out_of_fold import plan
from jser.features import store
from jser.models import fusion
from jser.shapes import Stream
from jser.training import convert
from tests.helpers import finished_runs, tiny_corpus, tiny_whisper
from tests.helpers.clock import Clock

torch = pytest.importorskip("torch")

from benchmarks import (  # noqa: E402
    accelerator,
    accelerator_parts,
    adaptation,
    epoch,
    memory,
    peer,
    precision,
    real_weights,
    scale,
    sides,
    svm,
    train_step,
    transcribe,
    whisper_context,
)


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


def test_ratios_are_of_the_first_side(monkeypatch):
    """A side that takes a third of the time is three times as fast."""
    clock = Clock()
    monkeypatch.setattr(train_step, "time", clock)
    contestants = {"slow": clock.side(0.75), "fast": clock.side(0.25)}
    found = train_step.race(contestants, rounds=5)
    assert found.ratio("slow") == 1
    assert found.ratio("fast") == found.ratio("fast", "cpu") == 3
    assert found.seconds("fast") == 0.25
    assert clock.now == 6  # Five rounds, and a step of each that does not count.


def test_growth_is_drawn_to_scale():
    """Twice the frames in twice the time: the line ends in the far corner."""
    shape = sides.Shape(2, (10, 3))
    points = [
        (what, dataclasses.replace(shape, frames=(T, 3)), T / 10)
        for what in ("frames", "utterances", "streams")
        for T in (10, 20)
    ]
    assert train_step.growth_table(points)[1] == "| frames | 2 x 20 + 3 | 1000.00 |"
    root = ElementTree.fromstring(train_step.growth_picture(points))
    space = "{http://www.w3.org/2000/svg}"
    lines = [p for p in root.iter(f"{space}path") if p.get("class") == "line line0"]
    (x0, y0), (x1, y1) = (
        map(float, p.split()) for p in lines[0].get("d")[1:].split("L")
    )
    assert x1 > x0
    assert y1 < y0  # SVG's y points down.
    assert [t.text for t in root.iter(f"{space}text")][-3:] == [
        "frames",
        "utterances",
        "streams",
    ]


def test_growth_is_told_since_the_size_before():
    """A hundred times the time at ten times the size: of slope 2."""
    found = [
        scale.Measured("stack", 1_000, 2.0, 1.0, 300),
        scale.Measured("stack", 10_000, 200.0, 100.0, 600),
        scale.Measured("report", 1_000, 9.0, 9.0, 300),
    ]
    assert scale.table_of(found) == [
        "| stack | 1,000 | 2.0 | 1.0 | 300 | | | |",
        "| stack | 10,000 | 200.0 | 100.0 | 600 | 100.0 | 2.00 | 2.0 |",
        "| report | 1,000 | 9.0 | 9.0 | 300 | | | |",
    ]


def test_memory_is_judged_once_it_has_settled():
    """What compiling takes at first does not count, what grows later does."""
    points = [(50, 100.0), (250, 400.0), (300, 500.0)]
    page = memory.page(points, 10.24, 5_000)
    assert "from 400 to 500 MB, the largest **1.25** times" in page
    ElementTree.fromstring(memory.drawn(points))


@pytest.mark.full
def test_every_stage_is_measured_at_every_size(tmp_path):
    page = scale.report((300, 600), tmp_path)
    for stage in scale.STAGES:
        assert page.count(f"| {stage} | ") == 2


@pytest.mark.slow
def test_the_memory_of_a_small_training(tmp_path):
    memory.make(tmp_path, 300, 5, 4)
    points = memory.run(tmp_path, 60)
    assert [step for step, _ in points] == sorted(step for step, _ in points)
    assert {50, 60} <= {step for step, _ in points}
    assert all(50 < mb < 5_000 for _, mb in points)


def a_part(limit_s: int = 60) -> accelerator.Part:
    return accelerator.Part("loops", "Loops", "Of loops.", "| a | b |", limit_s)


def measured(part: accelerator.Part, script: str) -> list[str]:
    """The lines of a process, which were told as they came."""
    told = []
    command = [sys.executable, "-c", script]
    lines = accelerator.measure(part, command, lambda lines: told.append([*lines]))
    assert told[-1] == lines
    return lines


def test_what_a_part_prints_is_its_table(capfd):
    script = "print('On a chip.'); print('so'); print('| 1 | 2 |'); print('| 3 | 4 |')"
    lines = measured(a_part(), script)
    assert lines == ["On a chip.", "| 1 | 2 |", "| 3 | 4 |"]
    page = accelerator.section(a_part(), lines)
    assert page[4:8] == ["| a | b |", "|---|---|", *lines[1:]]
    assert page[-2] == "On a chip."


def test_a_part_that_fails_or_is_cut_leaves_its_rows(capfd):
    failed = measured(a_part(), "print('| 1 | 2 |'); raise ValueError('no room')")
    assert failed[0] == "| 1 | 2 |"
    assert failed[1].startswith("Failed after ")
    assert failed[1].endswith(" s: ValueError: no room")
    script = "print('| 1 | 2 |', flush=True); import time; time.sleep(60)"
    cut = measured(a_part(limit_s=2), script)
    assert cut == ["| 1 | 2 |", "Cut at its limit of 2 s."]


def test_contestants_that_fail_are_told_and_the_rest_take_turns(capsys):
    def fails():
        raise MemoryError("too large\nby far")

    turns = []
    makers = {"a": lambda: lambda: turns.append("a"), "b": fails}
    makers["c"] = lambda: lambda: turns.append("c")
    taken = accelerator_parts.Clock(60, rounds=2).race(makers)
    assert turns == ["a", "a", "c", "c", "a", "c", "a", "c"]
    assert {side: len(s) for side, s in taken.items()} == {"a": 2, "c": 2}
    assert "| | b | MemoryError: too large |" in capsys.readouterr().out
    assert not accelerator_parts.Clock(0, rounds=2).race(makers)
    assert capsys.readouterr().out.count("left out: no time") == 3


def test_members_together_count_by_the_member(capsys):
    taken = {"torch": [0.2, 0.4, 0.3], "jser, 3 together": [0.3, 0.3, 0.6]}
    accelerator_parts.print_sides("4 x 6", taken, {"jser, 3 together": 3})
    assert capsys.readouterr().out.splitlines() == [
        "| 4 x 6 | torch | 300.00 | 200.00 to 400.00 | 1.00 |",
        "| 4 x 6 | jser, 3 together | 100.00 | 100.00 to 200.00 | 3.00 |",
    ]


@pytest.mark.full
def test_every_part_of_a_rehearsal_gives_rows(tmp_path):
    page = accelerator.report(
        [dataclasses.replace(p, limit_s=600) for p in accelerator.PARTS],
        tmp_path / "page.md",
        quick=True,
        began_as=["rehearsal"],
    )
    assert "Failed" not in page
    assert "Error" not in page
    rows = [s.count("\n| ") - 1 for s in page.split("\n## ")[1:]]
    assert rows == [9, 4, 8, 4]


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own():
    kept = np.ones(50_000_000)  # 400 MB that only this process holds.
    shape = sides.Shape(2, (5, 3), hidden=8)
    assert 100 < train_step.peak_mb("torch", shape) < 2000
    del kept


@pytest.mark.slow
def test_a_small_epoch_from_the_store(tmp_path):
    store = epoch.make_store(tmp_path, 16)
    rows = epoch.race(store, 8, (1, 2), 1, precision="float32", resident=False)
    sides_raced = [row.split(" | ")[2] for row in rows]
    assert sides_raced == ["torch", "jser, 1 together", "jser, 2 together"]
    assert "16 | torch" in epoch.page(rows, store)


@pytest.mark.slow
def test_contexts_are_compared_layer_by_layer(tmp_path):
    tiny_whisper.make(tmp_path)
    sounds = [tiny_whisper.sound(seed, 1.5) for seed in range(2)]
    *rows, _, told = whisper_context.compare(tmp_path, sounds)
    first = [float(x) for x in rows[2].split("|")[2:-1]]
    assert all(0.5 < x <= 1 for x in first)  # Convolutions and positions alone.
    assert "CPU seconds an utterance, of 2: full" in told


def test_an_svm_hears_tones_by_speakers_it_does_not_know(corpus):
    table = tables.read(corpus.data / "small")
    folder = store.dataset_folder(corpus.features, "small", "logmel")
    split = svm.open_split(table, folder, "train")
    x = svm.vectors(split)
    frames = split.read(np.array([3]))["frames"][0].astype(np.float32)
    want = np.concatenate([frames.mean(axis=0), frames.std(axis=0)])
    np.testing.assert_allclose(x[3, 0], want, rtol=1e-5)
    said = svm.predictions(split, table.labels, x[:, 0])
    assert len({*said.fold.tolist()}) >= 2
    assert (said.logits.argmax(axis=1) == said.label).mean() > 0.9
    own = svm.predictions(split, table.labels, np.eye(len(split)))
    assert (own.logits.argmax(axis=1) == own.label).mean() < 0.5  # Nothing leaks.
    with pytest.raises(ValueError, match=r"test needs two folds"):
        svm.open_split(table, folder, "test")


@pytest.mark.parametrize("T", [1, 4])
def test_an_svm_reads_a_vector_of_each_layer(T, rng):
    """Mean and deviation; what was pooled when it was stored is one already."""
    frames = [rng.standard_normal((T, 2, 3)).astype(np.float16) for _ in range(3)]
    split = mock.MagicMock(length={"frames": np.full(3, T)})
    split.__len__.return_value = 3
    split.read = lambda rows: {"frames": [frames[i] for i in rows]}
    x = frames[2].astype(np.float32)
    want = x[0] if T == 1 else np.concatenate([x.mean(axis=0), x.std(axis=0)], axis=1)
    np.testing.assert_allclose(svm.vectors(split)[2], want, rtol=1e-6)


def test_the_svm_is_told_with_what_others_gain(corpus, tmp_path, monkeypatch, capsys):
    roots = tiny_corpus.elsewhere(corpus, tmp_path)
    member = tiny_corpus.experiment()
    table = tables.read(roots.data / "small")
    ensemble = Ensemble(name="both", members=(member,), stacker="logistic")
    finished_runs.make(plan(ensemble, table), table, roots)
    flags = ["--table", roots.data / "small", "--features", "logmel"]
    flags += ["--features_root", roots.features, "--split", "train"]
    flags += ["--against", roots.runs / "small"]
    monkeypatch.setattr(sys, "argv", ["svm", *map(str, flags)])
    svm.main()
    first, *gains = capsys.readouterr().out.splitlines()
    assert first.startswith("layer 0 of 1: macro_f1 ")
    assert first.count("[") == 3
    assert [line.split()[0] for line in gains] == ["macro_f1", "uar", "accuracy"]
    with pytest.raises(FileNotFoundError, match=r"other/train\.npz"):
        svm.theirs(roots.runs / "other", "train")


def people(rng, *, tangled: bool) -> adaptation.Pooled:
    """Six voices far apart, of three emotions; or each of one alone, if tangled."""
    voice = np.repeat(np.arange(6), 30)
    emotion = voice % 3 if tangled else np.tile(np.arange(3), 60)
    x = 0.5 * rng.standard_normal((180, 9)) + 4 * rng.standard_normal((6, 9))[voice]
    x[:, :3] += 3 * np.eye(3)[emotion]
    names = np.array(["angry", "neutral", "sad"])
    return adaptation.Pooled(x, names[emotion], np.array([f"s{k}" for k in voice]))


@pytest.mark.parametrize("tangled", [False, True])
def test_speakers_statistics_help_where_all_say_everything_and_harm_elsewhere(
    rng, tangled
):
    source, target = people(rng, tangled=False), people(rng, tangled=tangled)
    rows = adaptation.compare(source, target)
    uar = {
        r.split(" | ")[0].strip("| "): float(r.split(" | ")[1][:5]) for r in rows[2:-2]
    }
    none, speaker = uar["none"], uar["speaker (transductive)"]
    assert speaker < 0.5 if tangled else speaker > max(none + 0.1, 0.9)
    few, many = (
        uar[f"{n} of the speaker"] for n in ("1 other recording", "32 other recordings")
    )
    assert tangled or few < many
    assert f"right on {1 if tangled else 1 / 3:.0%}" in rows[-1]


def test_what_is_centred_is_without_the_recording_itself(rng):
    target = people(rng, tangled=False)
    found = adaptation.centred(target, target, 99, rng)
    mine = target.speaker == "s2"
    row = np.flatnonzero(mine)[4]
    others = mine & (np.arange(180) != row)
    each = [target.x[target.speaker == s].std(axis=0) for s in set(target.speaker)]
    want = (target.x[row] - target.x[others].mean(axis=0)) / np.mean(each, axis=0)
    np.testing.assert_allclose(found[row], want)


def test_stored_frames_are_pooled(corpus):
    found = adaptation.Pooled.read(corpus.data / "small", corpus.features, "logmel")
    assert found.x.shape == (60, 2 * 80)
    assert set(found.speaker) == {"a", "b", "c", "d", "e"}
    frames = np.arange(6.0).reshape(3, 2)
    np.testing.assert_allclose(
        adaptation.pooled(frames, is_pooled=False), [2, 3, *[np.sqrt(8 / 3)] * 2]
    )
    np.testing.assert_array_equal(adaptation.pooled(frames[:1], is_pooled=True), [0, 1])


@pytest.mark.parametrize(
    ("want", "got", "errors"),
    [
        ("Der Lappen liegt.", "der lappen, liegt", 0),
        ("a b c d", "a x c", 2),
        ("", "a b", 2),
        ("a b", "", 2),
        ("a b c", "b c a", 2),
    ],
)
def test_word_errors_are_the_least_changes(want, got, errors):
    made, said = transcribe.words(want), transcribe.words(got)
    assert transcribe.word_errors(made, said) == errors
    assert transcribe.word_errors(said, made) == errors


def test_a_word_error_rate_is_over_all_words():
    assert transcribe.error_rate(["a b c", "d"], ["a b x", "d"]) == 0.25


@pytest.mark.slow
def test_precisions_are_compared_layer_by_layer(tmp_path):
    tiny_whisper.make(tmp_path)
    sounds = [tiny_whisper.sound(seed, 1.5) for seed in range(2)]
    *rows, _, told = precision.compare(tmp_path, sounds, 1)
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| float32", "| bfloat16"]
    off = [float(x.rstrip("%")) for x in told.split(": ")[1].split(". ")[0].split(", ")]
    assert all(0.01 < x < 5 for x in off)


@pytest.mark.slow
def test_whispers_encoder_races_with_weights_of_ones_own(tmp_path):
    tiny_whisper.make(tmp_path)
    sounds = [tiny_whisper.sound(seed, 1.5) for seed in range(2)]
    rows = [row.split(" | ") for row in real_weights.table(tmp_path, sounds, (1, 2), 1)]
    by_name = {(row[0].strip("| "), row[1]): row for row in rows[2:]}
    for batch in "12":
        assert float(by_name["jser", batch][-1].strip("| ")) < 1e-4
    assert ("jser, short context", "some") in by_name
