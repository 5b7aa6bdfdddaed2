"""From EMO-DB's sounds through tiny encoders of every kind into a trained member."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jser import recipes
from jser.corpora import prepare
from jser.encoders import facodec
from jser.ensemble import run_config
from jser.ensemble.logits import Logits
from jser.features import frontends, verify
from jser.features.extract import extract
from jser.roots import Roots
from jser.training import predict, train
from tests.helpers import tiny_checkpoints
from tests.helpers.paths import FIXTURES, ROOT, SHARED

pytest.importorskip("torch")
pytest.importorskip("transformers")

SOURCE = SHARED / "data" / "emodb"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SOURCE.exists(), reason="EMO-DB is not in ../shared/data/emodb"
    ),
]
SPEECH, TEXT = ("whisper", "hubert", "wavlm"), ("bert", "roberta", "deberta")


def make_facodec(folder: pathlib.Path) -> None:
    """A checkpoint of random tensors under the published names."""
    import torch

    folder.mkdir()
    torch.manual_seed(0)
    states = ({}, {})
    with np.load(FIXTURES / "seeded_facodec.npz", allow_pickle=False) as data:
        names, shapes = data["param/names"].tolist(), data["param/shapes"].tolist()
    for name, shape in zip(names, map(json.loads, shapes), strict=True):
        state = states[not name.startswith("encoder.")]
        spread = 0.5 / max(np.prod(shape[1:]), 25.0) ** 0.5
        state[name.removeprefix("encoder.")] = spread * torch.randn(shape)
    for file, state in zip(facodec.FILES, states, strict=True):
        torch.save(state, folder / file)


@pytest.fixture(scope="module")
def emodb(tmp_path_factory) -> Roots:
    """Six sentences of each of four speakers, by seven tiny random encoders."""
    home = tmp_path_factory.mktemp("emodb")
    roots = Roots(data=home / "data", features=home / "features", runs=home / "runs")
    (home / "source").mkdir()
    for speaker in ("03", "08", "09", "10"):
        for emotion in "NTW":
            for path in sorted(SOURCE.rglob(f"{speaker}???{emotion}?.flac"))[:2]:
                shutil.copy(path, home / "source")
    table = prepare.prepare(
        "emodb", home / "source", roots.data / "emodb", policy="speakers"
    )
    for name in (*SPEECH, *TEXT, "facodec_prosody"):
        folder = home / name
        if name == "facodec_prosody":
            make_facodec(folder)
        else:
            tiny_checkpoints.make(name, folder)
        front_end = frontends.open(name, weights=folder)
        features = extract(table, front_end, roots.features, workers=2)
        assert len(features.utt_id) == len(table.utterances) > 20
        assert features.spec["weights"]
        assert verify.verify(features.folder) == []
    return roots


@pytest.mark.parametrize(
    "streams",
    [
        {"speech": "whisper", "text": "roberta"},
        {"speech": "hubert", "text": "deberta"},
        {"speech": "hubert", "text": "bert"},
        {"speech": "wavlm", "text": "roberta", "prosody": "facodec_prosody"},
    ],
    ids=lambda streams: "_".join(streams.values()),
)
def test_a_member_trains_and_predicts(emodb, streams):
    experiment = recipes.load("whisper_roberta_sml:tiny")
    experiment.name = "_".join(streams.values())
    experiment.data.corpus, experiment.data.streams = "emodb", streams
    state = train.train(experiment.check(), emodb)
    assert int(state.step) > 0
    workdir = emodb.workdir(experiment)
    bound = run_config.read(workdir)[1]["front_ends"]
    assert {s: spec["name"] for s, spec in bound.items()} == streams
    assert all(len(spec["weights"]) == 16 for spec in bound.values())
    predict.predict(emodb, workdir, "dev")
    logits = Logits.load(workdir / "logits" / "dev.npz").logits
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=0).max() > 0


def test_another_layer_goes_beside_and_another_dtype_is_refused(emodb):
    def script(*flags: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts" / "extract.py")]
        command += [f"--table={emodb.data / 'emodb'}", "--frontend=roberta"]
        command += [f"--weights={emodb.data.parent / 'roberta'}"]
        command += [f"--features_root={emodb.features}", *flags]
        return subprocess.run(command, capture_output=True, text=True)

    assert " 0 failures" in script().stdout
    assert "roberta@1" in script("--layer=1").stdout
    other = script("--dtype=bfloat16")
    assert other.returncode == 1
    assert "made with dtype='float32', now it is 'bfloat16'" in other.stderr
