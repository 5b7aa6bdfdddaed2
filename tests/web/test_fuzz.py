"""The API as its own document describes it, tried by schemathesis, where that is."""

import os
import subprocess
import sys

import httpx2
import pytest

from tests.helpers.fake_recognizer import FakeRecognizer
from tests.helpers.paths import ROOT
from tests.helpers.served import served

pytest.importorskip("schemathesis", reason="pip install schemathesis fuzzes the API")

# Bytes that are a sound as often as not, so that answers are tried, too.
HOOKS = """
from hypothesis import strategies
import schemathesis
from tests.helpers.sound_files import content, hostile, tones

sounds = [content(tones(0.5, 0.02), form) for form in ("WAV", "FLAC", "OGG")]
schemathesis.openapi.media_type(
    "application/octet-stream",
    strategies.sampled_from(sounds)
    | strategies.sampled_from(list(hostile().values()))
    | strategies.binary(max_size=10_000),
)
"""


@pytest.mark.slow
def test_every_answer_is_one_that_the_document_has(tmp_path):
    (tmp_path / "hooks.py").write_text(HOOKS)
    with served(FakeRecognizer()) as port:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            *(f"http://127.0.0.1:{port}/openapi.json", "--max-examples=200"),
            *("--checks=all", "--exclude-checks=positive_data_acceptance"),
            "--continue-on-failure",
        ]
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": path}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        counts = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    assert done.returncode == 0, done.stdout + done.stderr
    for path in ("recognize", "timeline"):
        for status in (200, 400, 422):
            assert f'path="/{path}",status="{status}"' in counts
    assert 'status="5' not in counts
