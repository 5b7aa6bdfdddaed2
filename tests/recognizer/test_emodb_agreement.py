"""On EMO-DB itself, the models that come along say what the batch road says."""

import os
import pathlib
import subprocess
import sys

import httpx2
import numpy as np
import pytest

from jser.corpora import prepare, tables
from jser.features import frontends
from jser.features.extract import extract
from jser.recognizer import bundle, models
from jser.recognizer.network import Network
from jser.recognizer.recognizer import Recognizer
from tests.helpers.paths import ROOT, SHARED
from tests.helpers.served import served

SOURCE = SHARED / "data" / "emodb"
WHISPER = pathlib.Path(os.environ.get("JSER_WHISPER_BASE") or "none")
COUNT = 50
pytestmark = pytest.mark.skipif(
    not SOURCE.exists(), reason="EMO-DB is not in ../shared/data/emodb"
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Fifty of the recordings, of all speakers."""
    folder = tmp_path_factory.mktemp("emodb")
    found = sorted(SOURCE.rglob("*.flac"))
    for path in found[:: len(found) // COUNT][:COUNT]:
        (folder / path.name).symlink_to(path)
    return prepare.prepare("emodb", folder, folder / "data" / "emodb", policy="loso")


def by_store(name: str, table: tables.Table, root: pathlib.Path, weights) -> np.ndarray:
    """What the networks say of frames that were extracted and stored, [N, C]."""
    model = bundle.load(models.find(name))
    frames = {}
    for features in model.front_ends:
        opened = frontends.open(features, weights=weights)
        stored = extract(table, opened, root, workers=2)
        rows = np.array([stored.record[u.utt_id] for u in table.utterances])
        frames[features] = stored.read(rows)
    return Network(model)(frames, None)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "emodb-functionals",
        pytest.param(
            "emodb-whisper-base",
            marks=[
                pytest.mark.real,
                pytest.mark.skipif(
                    not WHISPER.is_dir(),
                    reason="JSER_WHISPER_BASE names no folder with Whisper base",
                ),
            ],
        ),
    ],
)
def test_fifty_files_alone_in_a_list_and_by_http(name, table, tmp_path):
    weights = {"whisper_base": WHISPER} if "whisper" in name else {}
    want = by_store(name, table, tmp_path, weights.get("whisper_base"))
    r = Recognizer.load(name, weights=weights)
    paths = [table.audio_path(u) for u in table.utterances]

    def rows(scores):
        return np.array([[s[label] for label in r.labels] for s in scores])

    many = rows([a.scores for a in r.many(paths)])
    np.testing.assert_allclose(many, want, atol=1e-4)
    np.testing.assert_allclose(rows([r(p).scores for p in paths]), want, atol=1e-4)
    with (
        served(r) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        sent = [client.post("/recognize", content=p.read_bytes()) for p in paths]
    said = rows([answer.json()["scores"] for answer in sent])
    np.testing.assert_allclose(said, want, atol=1e-4)
    labels = [u.emotion for u in table.utterances]
    predicted = [r.labels[i] for i in want.argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(labels, predicted, strict=True)])
    assert right > 0.9  # They were trained on these.


@pytest.mark.full
def test_made_again_the_small_model_says_the_same(tmp_path):
    """By its own command, from the sounds on; the figures of its card come again."""
    command = [sys.executable, "-m", "benchmarks.models", "--only=emodb-functionals"]
    flags = ["--work", tmp_path / "work", "--emodb", SOURCE, "--out", tmp_path / "out"]
    subprocess.run([*command, *map(str, flags)], check=True, cwd=ROOT)
    made = bundle.load(tmp_path / "out" / "emodb-functionals")
    kept = bundle.load(models.find("emodb-functionals"))
    uar = [m.about["figures"]["cv"]["scores"]["uar"]["value"] for m in (made, kept)]
    assert uar[0] == pytest.approx(uar[1], abs=0.01)
    paths = sorted(SOURCE.rglob("*.flac"))[::50]
    p = [
        [[a.scores[x] for x in m.labels] for a in Recognizer(m).many(paths)]
        for m in (made, kept)
    ]
    np.testing.assert_allclose(p[0], p[1], atol=0.05)
