"""A model that comes along, through HTTP and by the command."""

import os
import re
import signal
import subprocess
import sys

import httpx2
import numpy as np
import pytest

from jser.recognizer import making
from jser.recognizer.recognizer import Recognizer
from tests.helpers.served import served
from tests.helpers.sound_files import content, tones

NAME = "emodb-functionals"


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load(NAME)


@pytest.fixture(scope="module")
def client(recognizer):
    with (
        served(recognizer) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as asking,
    ):
        yield asking


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "rate_hz", "gains", "note"),
    [
        ("WAV", 16_000, (1, 0.5), ""),
        ("FLAC", 48_000, (1, 0.5), ""),
        ("MP3", 44_100, (1, 0.5), ""),
        ("OGG", 8_000, (1, 0.5), ""),
        ("FLAC", 16_000, (8, 8), "clipped"),
        ("WAV", 48_000, (1, -1), "its channels cancel"),
    ],
)
def test_answers_are_those_of_the_file(
    recognizer, client, tmp_path, form, rate_hz, gains, note
):
    tone = tones(0.5, 0.02, 0.2, seconds=2.0, rate_hz=rate_hz)
    channels = np.clip(np.stack([g * tone for g in gains], axis=1), -1, 1)
    sent = content(channels, form, rate_hz=rate_hz)
    path = tmp_path / "x.sound"
    path.write_bytes(sent)
    want = recognizer(path).to_dict()
    warnings = want["warnings"]
    got = client.post("/recognize", content=sent).json()
    for score in ("scores", "embedding", "duration_s"):
        assert got.pop(score) == pytest.approx(want.pop(score), abs=1e-4)
    assert {**got, "file": ""} == {**want, "file": ""}
    want = [s.to_dict() for s in recognizer.timeline(path)]
    said = client.post("/timeline", content=sent).json()
    assert [w.startswith(note) for w in said["warnings"]] == [True] * bool(note)
    assert set(said["warnings"]) <= set(warnings)
    got = said["segments"]
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.pop("scores") == pytest.approx(theirs.pop("scores"), abs=1e-4)
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(32_000), id="silence"),
        pytest.param(np.zeros(400), id="25 ms of silence"),
        pytest.param(tones(0.3, seconds=0.2), id="0.2 s"),
        pytest.param(np.ones(16_000), id="a constant"),
        pytest.param(np.sign(tones(1.0)), id="clipped"),
        pytest.param(np.eye(1, 16_000)[0], id="a click"),
    ],
)
def test_whatever_sounds_is_answered_with_a_warning(client, sound):
    sent = content(sound.astype(np.float32))
    answer = client.post("/recognize", content=sent)
    assert answer.status_code == 200, answer.text
    assert sum(answer.json()["scores"].values()) == pytest.approx(1)
    assert answer.json()["warnings"]
    assert client.post("/timeline", content=sent).status_code == 200


@pytest.mark.slow
def test_a_coverage_that_the_model_does_not_have_is_told(client):
    sent = content(tones(0.5))
    answer = client.post("/recognize?coverage=0.42", content=sent)
    assert answer.status_code == 400
    assert "0.9, 0.95" in answer.json()["error"]
    kept = client.get("/openapi.json").json()["components"]["schemas"]["Coverage"]
    assert kept["enum"] == list(making.COVERAGES)
    for coverage in kept["enum"]:
        answer = client.post(f"/recognize?coverage={coverage}", content=sent)
        assert answer.json()["coverage"] == coverage


@pytest.mark.slow
@pytest.mark.parametrize(("end", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_command_serves_until_it_is_ended(tmp_path, end, status):
    command = [sys.executable, "-m", "jser", "serve", "--port=0", "--model", NAME]
    with subprocess.Popen(
        [*command, "--token=geheim"], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            shown = rf"{NAME}: (http://127\.0\.0\.1:\d+)/#token=geheim\n"
            url = re.fullmatch(shown, told)
            assert url, told
            assert httpx2.get(f"{url[1]}/health").json() == {"status": "ok"}
            assert httpx2.get(f"{url[1]}/model").status_code == 401
        finally:
            os.kill(process.pid, end)
        assert process.wait(timeout=30) == status


def test_what_lacks_is_told_with_what_brings_it():
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from jser.commands import command_line\n"
        f"sys.exit(command_line.main(['serve', '--model', '{NAME}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith('error: serve: pip install "jser[serve]"')
    assert done.stderr.count("\n") == 1
