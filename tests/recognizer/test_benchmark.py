"""The benchmark of answers measures what it says."""

import numpy as np
import pytest

from jser import audio
from tests.helpers import tiny_whisper

torch = pytest.importorskip("torch")

from benchmarks import recognize, train_step  # noqa: E402
from tests.helpers.clock import Clock  # noqa: E402


def test_cold_and_warm_ratios_are_of_the_first_contestant(monkeypatch, tmp_path):
    took = {"a": (8.0, 4.0), "b": (2.0, 1.0)}
    made = {
        name: [recognize.Process(wall, cpu, 300, "")] * 3
        for name, (wall, cpu) in took.items()
    }
    rows = recognize.cold_table(made)[2:]
    assert rows == [
        "| a | 8.0 | 4.0 | 1.00 | 1.00 | 300 |",
        "| b | 2.0 | 1.0 | 4.00 | 4.00 | 300 |",
    ]
    clock = Clock()
    monkeypatch.setattr(train_step, "time", clock)
    heard = []

    def contestant(seconds: float):
        return lambda path: (heard.append(path.name), clock.side(seconds)())

    paths = recognize.cut([np.ones(400), np.ones(100_000)], tmp_path)
    found = recognize.warm({"a": contestant(3), "b": contestant(1)}, paths, rounds=2)
    assert heard == ["0.wav"] * 6 + ["1.wav"] * 6
    assert recognize.warm_table(found)[2:] == [
        "| a | 3000.0 | 3000.0 | 1.00 | 1.00 |",
        "| b | 1000.0 | 1000.0 | 3.00 | 3.00 |",
    ]
    assert [len(audio.load(path)) for path in paths] == [64_000, 64_000]


def test_a_process_is_measured_by_itself(tmp_path):
    kept = np.ones(50_000_000)  # 400 MB that only this process holds.
    done = recognize.run(["-c", "print('so')"], tmp_path)
    assert done.output == "so"
    assert 2 < done.peak_mb < 100
    with pytest.raises(RuntimeError, match="ended by 3"):
        recognize.run(["-c", "raise SystemExit(3)"], tmp_path)
    del kept


@pytest.mark.slow
def test_recognition_is_measured_cold_warm_and_long():
    page = recognize.report(
        "emodb-functionals",
        {},
        [tiny_whisper.sound(0, 1.5)],
        rounds=1,
        minutes=0.2,
        **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 32, "num_conv_pos_embedding_groups": 2},
    )
    for name in ("transformers", "jser, cache empty", "jser, cache filled", "jser"):
        assert f"| {name} |" in page
    shares = [row for row in page.splitlines() if row.endswith("% |")]
    assert abs(sum(int(row.split()[-2][:-1]) for row in shares) - 100) <= 2
    assert "A timeline of 0.2 minutes" in page
