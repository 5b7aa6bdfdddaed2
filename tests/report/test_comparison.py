import dataclasses
import json

import numpy as np
import pytest

from jser.report import comparison
from tests.commands.test_scripts import run
from tests.helpers import simulated_systems


@pytest.fixture
def saved(tmp_path, rng):
    said = {
        "weak": simulated_systems.said(rng, skill=0.5),
        "strong": simulated_systems.said(rng, skill=2.5),
    }
    for name, found in said.items():
        found.save(tmp_path / name / "logits" / "test.npz")
    return said


def test_compare_finds_files_and_folders(saved, tmp_path):
    a, b = tmp_path / "weak", tmp_path / "strong" / "logits"
    found = comparison.of_files(a, b, "test")
    assert found["a"].endswith("weak/logits/test.npz")
    assert found == comparison.of_files(
        a / "logits" / "test.npz", b / "test.npz", "another"
    )
    gain = found["scores"]["accuracy"]
    right = {m: (x.logits.argmax(1) == x.label).mean() for m, x in saved.items()}
    assert gain["difference"] == pytest.approx(right["strong"] - right["weak"])
    assert gain["interval"][0] > 0
    assert gain["p_bootstrap"] < 0.05
    back = comparison.of_files(b, a, "test")["scores"]["accuracy"]
    assert back["difference"] == pytest.approx(-gain["difference"])
    assert f"{gain['difference']:+.3f} [" in comparison.describe(found)


def test_equal_predictions_do_not_differ(saved, tmp_path):
    same = dataclasses.replace(saved["weak"], logits=2 * saved["weak"].logits)
    same.save(tmp_path / "same" / "test.npz")
    found = comparison.of_files(tmp_path / "weak", tmp_path / "same", "test")
    for of in found["scores"].values():
        assert of["difference"] == 0
        assert of["p_bootstrap"] == of["p_randomization"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_sample": np.ones(60, bool)}, "was trained on some of the utterances"),
        ({"label": np.full(60, -1)}, "differ in the label"),
        ({"utt_id": np.arange(60).astype(str)}, "do not hold the same utterances"),
    ],
)
def test_what_cannot_be_compared_is_refused(saved, tmp_path, change, message):
    other = dataclasses.replace(saved["strong"], **change)
    other.save(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=message):
        comparison.of_files(tmp_path / "weak", tmp_path / "other.npz", "test")


def test_a_system_is_not_compared_with_itself(saved, tmp_path):
    with pytest.raises(ValueError, match="are the same logits"):
        comparison.of_files(tmp_path / "weak", tmp_path / "weak", "test")
    with pytest.raises(FileNotFoundError, match=r"weak/logits/dev\.npz: not there"):
        comparison.of_files(tmp_path / "weak", tmp_path / "strong", "dev")


def test_the_script_compares(saved, tmp_path):
    found = run("evaluate", "--compare=weak,strong", "--out=gain.json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "b over a on 60 utterances, drawn by speakers:" in found.stdout
    stored = json.loads((tmp_path / "gain.json").read_text())
    difference = stored["scores"]["macro_f1"]["difference"]
    assert f"{difference:+.3f} [" in found.stdout
    for arguments, message in (
        (["--compare=weak"], "must be two"),
        ([], "give --config or --workdir"),
    ):
        found = run("evaluate", *arguments, cwd=tmp_path)
        assert found.returncode == 1
        assert message in found.stderr.strip().splitlines()[-1]
