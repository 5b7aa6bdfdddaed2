"""The scripts as a user types them."""

import pathlib
import subprocess
import sys

import pytest

from tests.helpers import tiny_corpus

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted(
    p for p in (ROOT / "scripts").glob("*.py") if not p.stem.endswith("_flags")
)


def run(script: str, *arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_help_is_light_and_gives_an_example(path):
    command = [sys.executable, "-X", "importtime", str(path), "--help"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert f"python scripts/{path.name} --" in found.stdout
    imported = {line.rpartition("|")[2].strip() for line in found.stderr.splitlines()}
    assert "absl" in imported
    assert not imported & {"jax", "numpy", "sklearn", "librosa", "transformers"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_scripts_are_short(path):
    assert len(path.read_text().splitlines()) <= 70


def test_prepare_extract_train_predict(tmp_path):
    source = tiny_corpus.make(tmp_path / "source")
    found = run(
        "prepare",
        "--corpus=csv",
        f"--source={source}",
        "--out=data/small",
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert "60 utterances, 0.01 hours, 5 speakers" in found.stdout
    found = run("extract", "--table=data/small", "--frontend=char_ngrams", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "60 utterances" in found.stdout
    (tmp_path / "words.py").write_text(
        "from jser import config as cfg\n"
        "def get_config():\n"
        "  return cfg.Experiment(name='words', epochs=1, model=cfg.Model(hidden=4),\n"
        "    data=cfg.Data(corpus='small', streams={'text': 'char_ngrams'}))\n"
    )
    found = run("train", "--config=words.py", "--config.optim.lr=3e-4", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert '"lr": 0.0003,' in found.stdout  # The resolved config.
    assert "runs/words: trained to step 1" in found.stdout
    found = run("predict", "--workdir=runs/words", "--split=test", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "macro_f1 0." in found.stdout
    found = run("report", "--workdir=runs/words", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "| test | words | 0." in found.stdout
    assert (tmp_path / "runs" / "words" / "report.html").exists()


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("prepare", ["--corpus=x", "--source=.", "--out=o"], "'x' is not one of"),
        ("extract", ["--table=none", "--frontend=logmel"], "scripts/prepare.py"),
        ("predict", ["--workdir=none"], "scripts/train.py makes one"),
        (
            "train",
            [f"--config={ROOT}/configs/demo_logmel_words.py", "--data_root=none"],
            "scripts/prepare.py",
        ),
        (
            "train",
            [f"--config={ROOT}/configs/demo_logmel_words.py", "--config.epochs=0"],
            "epochs: 0 must be at least 1",
        ),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line(script, arguments, message, tmp_path):
    found = run(script, *arguments, cwd=tmp_path)
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in found.stderr


def test_an_unknown_field_is_refused(tmp_path):
    config = f"--config={ROOT}/configs/demo_logmel_words.py"
    found = run("train", config, "--config.optim.speed=3", cwd=tmp_path)
    assert found.returncode != 0
    assert "speed" in found.stderr
