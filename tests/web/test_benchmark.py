"""The race of answers counts what it says."""

import httpx2

from benchmarks import serve
from jser.web.sounds import Limits
from tests.helpers.fake_recognizer import FakeRecognizer
from tests.helpers.served import served
from tests.helpers.sound_files import content, tones


def test_lost_answers_are_counted_and_not_timed():
    sound = content(tones(0.5, seconds=0.1))
    with (
        served(FakeRecognizer(), limits=Limits(held=1)) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        lost, took, _ = serve.measure(client, sound, requests=20, at_once=1)
        assert (lost, len(took)) == (0, 20)
        assert serve.measure(client, b"", requests=3, at_once=2)[0] == 3
        rows = serve.page(client, sound, requests=5)
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 1", "| 20"]
