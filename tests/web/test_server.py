"""The server at work: many at a time, slow ones, rude ones, and its end."""

from concurrent import futures
import json
import socket
import threading

import httpx2
import pytest

from jser.web import server
from jser.web.sounds import Limits
from tests.helpers.fake_recognizer import FakeRecognizer
from tests.helpers.served import served
from tests.helpers.sound_files import content, tones

TONES = content(tones(0.5, 0.02, seconds=0.5))
_S = 20.0  # After which a test gives up.


def post(port: int, path: str = "/recognize", sent: bytes = TONES) -> httpx2.Response:
    return httpx2.post(f"http://127.0.0.1:{port}{path}", content=sent, timeout=_S)


def raw(port: int, sent: bytes) -> bytes:
    """All that comes back for some bytes, until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=_S) as s:
        s.sendall(sent)
        return b"".join(iter(lambda: s.recv(65536), b""))


def head(port: int, length: int) -> bytes:
    return (
        f"POST /recognize HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()


def test_of_many_at_a_time_none_is_lost():
    levels = [0.5, 0.1, 0.02, 0.004] * 50
    sent = [content(tones(level, seconds=0.5)) for level in levels]
    with (
        served(FakeRecognizer()) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=_S) as client,
        futures.ThreadPoolExecutor(20) as pool,
    ):
        answers = list(pool.map(lambda x: client.post("/recognize", content=x), sent))
    assert [a.status_code for a in answers] == [200] * 200
    labels = [a.json()["label"] for a in answers]
    assert labels == ["angry", "happy", "neutral", "sad"] * 50


def test_a_full_server_says_when_to_come_again_and_is_there_for_the_rest():
    go = threading.Event()
    model = FakeRecognizer(lambda: go.wait(_S))
    with (
        served(model, limits=Limits(held=2)) as port,
        futures.ThreadPoolExecutor(2) as pool,
    ):
        url = f"http://127.0.0.1:{port}"
        waiting = [pool.submit(post, port) for _ in range(2)]
        while "jser_sounds_held 2" not in httpx2.get(f"{url}/metrics").text:
            pass
        refused = post(port)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "try again" in refused.json()["error"]
        assert httpx2.get(f"{url}/health").status_code == 200
        go.set()
        assert [w.result().status_code for w in waiting] == [200, 200]
        assert post(port).status_code == 200


def test_slow_cut_and_endless_uploads_are_let_go():
    limits = Limits(upload_s=0.3, body_bytes=100_000, held=2)
    with served(FakeRecognizer(), limits=limits) as port:
        status, _, rest = raw(port, head(port, 1000) + b"RIFF").partition(b"\r\n")
        assert status == b"HTTP/1.1 408 Request Timeout"
        assert json.loads(rest.partition(b"\r\n\r\n")[2]) == {
            "error": "The file did not arrive within 0.3 s."
        }
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(head(port, 1000) + b"RIFF")  # And is gone.
        assert raw(port, head(port, 1 << 40)).startswith(b"HTTP/1.1 413 ")
        while (
            "jser_sounds_held 0"
            not in httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        ):
            pass
        assert post(port).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",  # TLS.
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        b"POST /recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /recognize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(sent):
    with served(FakeRecognizer()) as port:
        assert raw(port, sent).startswith(b"HTTP/1.1 400 ")
        assert post(port).status_code == 200


def test_paths_do_not_leave_the_page():
    with served(FakeRecognizer()) as port:
        for path in ("/../../../etc/passwd", "/page.css/../app.py", "/..%2fapp.py"):
            asked = (
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            answer = raw(port, asked.encode())
            assert answer.startswith(b"HTTP/1.1 404 ")


def test_an_address_that_cannot_be_served_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"--port={port}: Address already in use"):
            server.serve(FakeRecognizer(), host="127.0.0.1", port=port)
    with pytest.raises(ValueError, match=r"--host=0.0.0.0: others can reach it; give"):
        server.serve(FakeRecognizer(), host="0.0.0.0", port=0)
    with pytest.raises(
        ValueError, match=r"--host=192\.0\.2\.1 --port=0: Cannot assign"
    ):
        server.serve(FakeRecognizer(), host="192.0.2.1", port=0, token="x")
    assert capsys.readouterr().out == ""
